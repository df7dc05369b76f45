"""The strictest payload rules: nothing but what calls are made of, and nothing that abusers like. For tests of clients
that must not notice them."""

WEBRTC = {"stun", "dtls", "rtp", "rtcp", "zrtp", "turn_channel"}


def strict_rules(directory, packets=8):
    """Flags of a relay that has them."""
    config = directory / "rules.toml"
    config.write_text(
        f"""
[payload]
packets = {packets}
webrtc_only = true
cache = ""
[[payload.rule]]
protocol = "abuse"
action = "drop"
"""
    )
    return ("--config", config)


def matched(relay):
    """Rule → packets that it knew."""
    name = "turnpike_payload_rule_packets_total{"
    return {
        series.split('rule="')[1].split('"')[0]: count
        for series, count in relay.metrics().items()
        if series.startswith(name)
    }


def nothing_is_refused(relay):
    """What each rule knew; fails if one of them has refused a packet."""
    rules = matched(relay)
    assert {"dns", "unknown"} | WEBRTC < rules.keys(), rules
    assert not {rule for rule, count in rules.items() if count} - WEBRTC, rules
    assert relay.total("turnpike_dropped_packets_total", reason="payload_rule") == 0
    return rules
