// The relay's addresses by themselves, without a call.

// Of all the server's addresses those that the way chosen may use.
export function serversFor(servers, way) {
  const fits = {
    udp: (url) => url.startsWith("turn:") && !url.includes("transport=tcp"),
    tcp: (url) => url.startsWith("turn:") && url.includes("transport=tcp"),
    tls: (url) => url.startsWith("turns:"),
  }[way];
  if (!fits) return servers;
  return servers.map((server) => ({ ...server, urls: server.urls.filter(fits) })).filter((one) => one.urls.length);
}

export function relayOnly(iceServers, errors = []) {
  const pc = new RTCPeerConnection({ iceServers, iceTransportPolicy: "relay", bundlePolicy: "max-bundle" });
  pc.addEventListener("icecandidateerror", ({ url, errorCode, errorText, address }) =>
    errors.push({ url, code: errorCode, text: errorText, address }),
  );
  return pc;
}

// What addresses the relay gives within `ms`, and after how long; no more than `most` are waited for.
export async function gather(iceServers, { ms, most = Infinity, errors }) {
  const pc = relayOnly(iceServers, errors);
  const began = performance.now();
  const found = [];
  let timer;
  try {
    const done = new Promise((resolve) => {
      timer = setTimeout(resolve, ms);
      pc.onicecandidate = ({ candidate }) => {
        if (candidate?.type === "relay") {
          const { address, port } = candidate;
          found.push({ address, port, after: performance.now() - began });
        }
        if (!candidate || found.length >= most) resolve();
      };
    });
    pc.createDataChannel("gather");
    await pc.setLocalDescription();
    await done;
    return found;
  } finally {
    clearTimeout(timer);
    pc.close();
  }
}
