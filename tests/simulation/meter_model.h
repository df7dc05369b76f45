// What a limit lets pass, between two bounds. Of what workers share, the bucket, and of what they
// hold, the credit, a model that sees packets alone knows the sum to no more than a credit a
// worker: so it keeps two buckets, one that is never emptier than that sum and one that is never
// fuller.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include "model.h"

namespace turnpike::simulation {

// As MeterRate is given it.
struct Rate {
  std::uint64_t per_second = 0, burst = 0;

  bool unlimited() const { return per_second == 0; }
};

class MeterModel {
 public:
  // Of a limit that `workers` draw from, none of which draws more than `quantum` at a time, nor
  // holds more than that and a packet of `most` units.
  struct Drawing {
    std::uint32_t workers = 1, quantum = 0, most = 1;
    double each() const { return quantum + most; }
    double all() const { return workers * each(); }
  };

  // Of nobody before: it is full.
  static MeterModel fresh(const Rate& rate, const Drawing& drawing, Instant now) {
    return {rate, drawing, now, static_cast<double>(rate.burst)};
  }
  // Another rate than before, or another's before: all that is known is that it is not emptier
  // than empty, but for the second by which clocks may differ; and that no more than `before` would
  // have drawn is held.
  static MeterModel changed(const Rate& rate, const Drawing& drawing, const Drawing& before,
                            Instant now) {
    MeterModel model(rate, drawing, now, static_cast<double>(rate.burst) + before.all());
    model.least_ = -static_cast<double>(rate.per_second);
    return model;
  }

  // `whose` limit, for the message.
  void passed(Instant now, std::uint32_t units, const char* whose) {
    refill(now);
    if (most_ + 1 < units) throw Failure{std::string("more passes than allowed to ") + whose};
    most_ -= units;
    least_ -= units;
    refused_by_ = 0;
  }
  // By this limit, to one worker. Where all are refused one after the other there is no more than a
  // packet in the bucket, nor in any credit.
  void refused(Instant now, std::uint32_t units, std::uint32_t worker, const char* whose) {
    if (now.ms != at_.ms) refused_by_ = 0;
    refill(now);
    largest_ = refused_by_ == 0 ? units : std::max(largest_, units);
    refused_by_ |= 1U << worker;
    const bool by_all = refused_by_ == (1U << drawing_.workers) - 1;
    const double left = by_all ? (drawing_.workers + 1.0) * largest_
                               : units + (drawing_.workers - 1) * drawing_.each();
    if (by_all) most_ = std::min(most_, left);
    if (least_ >= left + 1) throw Failure{std::string("less passes than allowed to ") + whose};
  }
  // It may be emptier than is known: its user has another bucket now.
  void empty() { least_ = std::min(least_, 0.0); }

 private:
  MeterModel(const Rate& rate, const Drawing& drawing, Instant now, double most)
      : rate_(rate), drawing_(drawing), at_(now), most_(most), least_(most) {}

  void refill(Instant now) {
    const double more =
        static_cast<double>(now.ms - at_.ms) * static_cast<double>(rate_.per_second) / 1000;
    const auto burst = static_cast<double>(rate_.burst);
    most_ = std::min(most_ + more, std::max(most_, burst + drawing_.all()));
    least_ = std::min(least_ + more, burst);
    at_ = now;
  }

  Rate rate_;
  Drawing drawing_;
  Instant at_;
  double most_, least_;
  std::uint32_t refused_by_ = 0;  // workers' bits, since something has passed or time has
  std::uint32_t largest_ = 0;     // that they were refused
};

}  // namespace turnpike::simulation
