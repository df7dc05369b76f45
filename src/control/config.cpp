// The configuration as it is read and checked; see config.h.
#include "control/config.h"
