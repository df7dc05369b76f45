// What the browser knows of a connection, brought to one form: browsers differ in what they tell, and where.

const ALIVE = new Set(["succeeded", "in-progress"]);

// {pair, local, remote, candidates: {local, remote}, bytes, packets, lost, roundTrip, frames} of now.
export async function look(pc) {
  const all = [...(await pc.getStats()).values()];
  const of = (type) => all.filter((one) => one.type === type);
  const byId = new Map(all.map((one) => [one.id, one]));
  const pairs = of("candidate-pair");
  const pair = pairInUse(pairs, of("transport"), byId);
  const inbound = of("inbound-rtp");
  const sum = (list, key) => list.reduce((so, one) => so + (one[key] ?? 0), 0);
  return {
    pair,
    local: byId.get(pair?.localCandidateId),
    remote: byId.get(pair?.remoteCandidateId),
    candidates: {
      local: of("local-candidate").map((one) => ({ ...one, state: stateOf(one, pairs, pair, "localCandidateId") })),
      remote: of("remote-candidate").map((one) => ({ ...one, state: stateOf(one, pairs, pair, "remoteCandidateId") })),
    },
    received: sum(inbound, "bytesReceived") + sum(of("data-channel"), "bytesReceived"),
    sent: sum(of("outbound-rtp"), "bytesSent") + sum(of("data-channel"), "bytesSent"),
    packets: sum(inbound, "packetsReceived"),
    lost: sum(inbound, "packetsLost"),
    roundTrip: pair?.currentRoundTripTime ?? of("remote-inbound-rtp").find((one) => one.roundTripTime)?.roundTripTime,
    frames: inbound.find((one) => one.kind === "video")?.framesDecoded ?? 0,
  };
}

function pairInUse(pairs, transports, byId) {
  for (const { selectedCandidatePairId } of transports) {
    if (byId.has(selectedCandidatePairId)) return byId.get(selectedCandidatePairId);
  }
  const nominated = pairs.filter((one) => one.nominated && one.state === "succeeded");
  return nominated.find((one) => one.selected) ?? nominated.at(-1);
}

// "in use", "works", "trying", "no answer" or "found": of a candidate, by the pairs that it is in.
function stateOf(candidate, pairs, used, key) {
  if (used?.[key] === candidate.id) return "in use";
  const states = pairs.filter((one) => one[key] === candidate.id).map((one) => one.state);
  if (states.includes("succeeded")) return "works";
  if (states.some((state) => ALIVE.has(state))) return "trying";
  return states.includes("failed") ? "no answer" : "found";
}
