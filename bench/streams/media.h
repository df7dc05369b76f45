// Messages between clients and their peers: each says whose it is, which one, and when it was sent,
// and is checked where it arrives.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "histogram.h"
#include "loop.h"

namespace turnpike::streams {

struct DirectionTally {
  std::uint64_t sent = 0, delivered = 0, reordered = 0, corrupted = 0, wrong_receiver = 0;
  std::uint64_t in_time = 0;  // delivered before the end of the run
  pktgen::Histogram latency_ns;

  std::uint64_t lost() const { return sent > delivered ? sent - delivered : 0; }
  void add(const DirectionTally& other);
};

struct Tally {
  double seconds = 0;
  DirectionTally up, down;
  std::uint64_t refused = 0;  // a connection, or the peers' socket, took no more
  std::uint64_t skipped = 0;  // the generator came too late
  double idle = 0;            // the share of time in which it waited

  void add(const Tally& other);
};

class Media final : public Watcher {
 public:
  Media(const Options& options, Loop& loop);

  // Sends for so long, at `rate` messages a second (0: as fast as connections take them), and waits
  // for what is on its way then.
  Tally run(double rate, double seconds);
  // The same, without waiting or counting, so that the next run begins in the middle.
  void warm_up(double rate, double seconds);

  void see_media_of_peer(std::uint32_t client, Bytes payload) override;
  void see_media_at_peer(Bytes payload) override;

 private:
  void go(double rate, double seconds);
  void send(std::uint64_t messages);
  void fill(std::uint32_t client, std::uint32_t sequence, std::uint64_t count, bool up);
  std::uint64_t send_up(std::uint32_t client, std::uint64_t count);
  std::uint64_t send_down(std::uint32_t client, std::uint64_t count);
  void flush_down();
  void write(std::uint8_t* payload, std::uint32_t client, std::uint32_t sequence, bool up) const;
  void see(Bytes payload, bool up, std::uint32_t client);

  const Options& options_;
  Loop& loop_;
  Tally tally_;
  std::uint64_t end_ns_ = 0, since_ns_ = 0, heard_ns_ = 0;
  std::uint32_t next_ = 0;  // the client who is to send
  bool next_is_up_ = true;
  std::vector<std::uint8_t> room_;
  struct Datagram {
    std::uint32_t client;
    std::array<std::uint8_t, 1408> bytes;
  };
  std::vector<Datagram> down_;
  std::size_t waiting_ = 0;  // of down_
};

}  // namespace turnpike::streams
