// Elements by id, and new ones. What others have sent is only ever text.

export const $ = (id) => document.getElementById(id);

export function make(tag, { classes = "", text, ...more } = {}, ...children) {
  const one = Object.assign(document.createElement(tag), more);
  if (classes) one.className = classes;
  if (text !== undefined) one.textContent = text;
  one.append(...children);
  return one;
}

export function bytes(count) {
  if (count < 1000) return `${count} bytes`;
  if (count < 1e6) return `${(count / 1000).toFixed(0)} kB`;
  return `${(count / 1e6).toFixed(1)} MB`;
}

// Of a candidate: it is either an address or, so that pages don't learn it, a name that the browser has made up.
export function place({ address, ip, port }) {
  const where = address ?? ip;
  if (!where) return "not told";
  if (where.endsWith(".local")) return "hidden by the browser";
  return where.includes(":") ? `[${where}]:${port}` : `${where}:${port}`;
}

// What icecandidateerror has said, for people.
export function explain({ code, text }) {
  const known = {
    300: "the server sends its clients elsewhere",
    400: "the server did not understand the request",
    401: "the server refused the credentials",
    403: "the server refuses to serve us",
    438: "the credentials had grown old",
    440: "the server has no address of this family",
    442: "the server does not relay this protocol",
    486: "this user has as many relay addresses as allowed",
    508: "the server has no room left",
    600: "the server had an error",
    701: "the server can't be reached this way",
  };
  return known[code] ?? text ?? `error ${code}`;
}
