// A family of metrics under construction, as prometheus-cpp has them.
#pragma once

#include <prometheus/metric_family.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "base/duration_histogram.h"

namespace turnpike::observe {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

// Keeps a reference into `out`, which may not grow meanwhile.
class FamilyWriter {
 public:
  FamilyWriter(std::vector<MetricFamily>& out, MetricType type, std::string name, std::string help)
      : family_(out.emplace_back()) {
    family_.name = "turnpike_" + std::move(name);
    family_.help = std::move(help);
    family_.type = type;
  }

  void add(Labels labels, double value) {
    ClientMetric& metric = family_.metric.emplace_back();
    metric.label = std::move(labels);
    (family_.type == MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
  }
  void add(Labels labels, std::uint64_t value) {
    add(std::move(labels), static_cast<double>(value));
  }
  void add(Labels labels, const DurationHistogram& times, std::uint64_t ticks_per_second) {
    ClientMetric& metric = family_.metric.emplace_back();
    metric.label = std::move(labels);
    double bound = DurationHistogram::kFirstBoundS;
    for (std::size_t i = 0; i < DurationHistogram::kBuckets; ++i, bound *= 2) {
      metric.histogram.sample_count += times.count(i);
      const bool last = i + 1 == DurationHistogram::kBuckets;
      metric.histogram.bucket.push_back(
          {metric.histogram.sample_count, last ? std::numeric_limits<double>::infinity() : bound});
    }
    metric.histogram.sample_sum = static_cast<double>(times.ticks()) /
                                  static_cast<double>(std::max<std::uint64_t>(ticks_per_second, 1));
  }

 private:
  MetricFamily& family_;
};

}  // namespace turnpike::observe
