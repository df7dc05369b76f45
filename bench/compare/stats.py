"""Medians and quartiles."""


def quantile(values, at):
    ordered = sorted(values)
    place = at * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def spread(values):
    """{"median", "quartiles", "n"} of some values."""
    return {
        "median": round(quantile(values, 0.5), 4),
        "quartiles": [round(quantile(values, 0.25), 4), round(quantile(values, 0.75), 4)],
        "n": len(values),
    }
