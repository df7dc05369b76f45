#include "turnpike/address.h"
