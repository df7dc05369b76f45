-- TURN media for Pktgen-DPDK, from the flows that `turnpike-pktgen --setup-only FILE` has set up.
--
-- First, with plain Lua (5.3 or later), frames of clients and of peers, one for each flow:
--
--     lua5.4 pktgen-dpdk.lua FILE clients.pcap peers.pcap
--
-- then the same script inside Pktgen, which sends them in turn and counts (TURN_RATE percent of the line,
-- TURN_SECONDS long); port 0 plays the clients, port 1 the peers:
--
--     pktgen -l 0-2 -- -P -m "1.0,2.1" -s 0:clients.pcap -s 1:peers.pcap -f pktgen-dpdk.lua
--
-- Permissions end 300 s and channels 600 s after the set-up, so start at once.

local function write_pcaps(flows_path, clients_path, peers_path)
  local outputs = { client = assert(io.open(clients_path, "wb")), peer = assert(io.open(peers_path, "wb")) }
  for _, output in pairs(outputs) do
    -- Magic, version 2.4, zone, accuracy, longest frame, Ethernet.
    output:write(string.pack("<I4 I2 I2 i4 I4 I4 I4", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
  end
  local count = 0
  for line in io.lines(flows_path) do
    for side, output in pairs(outputs) do
      local head = line:match('"' .. side .. '_head": "(%x+)"')
      local size = tonumber(line:match('"' .. side .. '_size": (%d+)'))
      if head then
        local bytes = head:gsub("%x%x", function(digits) return string.char(tonumber(digits, 16)) end)
        -- The checksums in the head are those of a payload of zeros.
        local frame = bytes .. string.rep("\0", size - #bytes)
        output:write(string.pack("<I4 I4 I4 I4", 0, 0, #frame, #frame), frame)
        count = count + 1
      end
    end
  end
  for _, output in pairs(outputs) do
    output:close()
  end
  print(count // 2 .. " flows")
end

local function run_in_pktgen()
  local seconds = tonumber(os.getenv("TURN_SECONDS") or 10)
  local ports = "0,1"
  pktgen.set(ports, "rate", tonumber(os.getenv("TURN_RATE") or 1))
  pktgen.clr()
  pktgen.start(ports)
  pktgen.delay(seconds * 1000)
  pktgen.stop(ports)
  pktgen.delay(500)
  local stats = pktgen.portStats(ports, "port")
  local sent, received = 0, 0
  for port = 0, 1 do
    sent = sent + stats[port].opackets
    received = received + stats[port].ipackets
  end
  printf("sent %d, received %d in %d s\n", sent, received, seconds)
end

if pktgen == nil then
  if #arg ~= 3 then
    io.stderr:write("usage: lua5.4 pktgen-dpdk.lua FLOWS CLIENTS_PCAP PEERS_PCAP\n")
    os.exit(2)
  end
  write_pcaps(arg[1], arg[2], arg[3])
else
  run_in_pktgen()
end
