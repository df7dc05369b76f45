"""A call that lasts: every nonce, permission, channel and allocation of it has to be refreshed, and nobody must notice. Browsers' own
timers for permissions and channels can't be changed, so the one of eleven minutes is the real one; in the short one allocations and
nonces live for seconds. The long one runs where it is asked for (`tests/run long`)."""

import contextlib
import time

import pytest

from demo import Demo
from lab import wait_for

NAMES = ("chromium", "firefox")
# With less than twenty seconds Firefox has no time to refresh an allocation.
ALLOCATION_S = 30
SHORT = f"nonce_lifetime_s = 7\n[limits]\nlifetime_min_s = {ALLOCATION_S}\nlifetime_max_s = {ALLOCATION_S}\n"


def lasts(lab, folder, seconds, configuration):
    """Calls for so long. Gives the relay's counters before Hang up; fails if anybody had to mend anything, or heard a gap."""
    with contextlib.ExitStack() as stack:
        demo = Demo(lab, folder, stack)
        demo.start_relay(configuration)
        demo.start_server()
        with demo.call(NAMES, "udp") as pages:
            ends = time.monotonic() + seconds
            while time.monotonic() < ends:
                # Fifty packets a second, where the machine keeps up.
                demo.wait_for_media(pages, 8, frames=1, packets=20)
                time.sleep(1)
            for page in pages:
                assert page.text("#restarts") == "" and page.js("connections.length") == 1
            counters = demo.relay.metrics()
            # A closing Refresh whose nonce is old is answered 438, and browsers don't repeat it.
            demo.hang_up(pages, ALLOCATION_S + 10 if configuration else 10)
        return counters


def total(counters, *parts):
    return sum(value for series, value in counters.items() if all(part in series for part in parts))


@pytest.mark.timeout(180)
def test_nonces_and_allocations_of_seconds(lab, tmp_path):
    counters = lasts(lab, tmp_path, ALLOCATION_S + 15, SHORT)
    # Half or two thirds of the way through each lifetime, on both sides.
    assert total(counters, "turnpike_requests_total", 'method="refresh"', 'result="success"') >= 2, counters
    stale = total(counters, "turnpike_requests_total", 'result="438"') + total(
        counters, "answers_total", 'result="438"'
    )
    assert stale >= 2, counters


@pytest.mark.long
@pytest.mark.timeout(1000)
def test_eleven_minutes(lab, tmp_path):
    counters = lasts(lab, tmp_path, 11 * 60, "")
    # Firefox has an allocation of an hour and never binds a channel; Chromium has ten minutes of either.
    done = {
        method: total(counters, "turnpike_requests_total", f'method="{method}"', 'result="success"')
        for method in ("refresh", "create_permission", "channel_bind")
    }
    print(done)
    assert done["refresh"] >= 1 and done["create_permission"] >= 4 and done["channel_bind"] >= 2, done
    # The first checks come before their permission; a permission that has run out loses fifty packets a second.
    assert total(counters, "turnpike_dropped_packets_total", 'reason="no_permission"') < 20
