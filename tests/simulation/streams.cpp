// What chance does to connections, step by step.
#include "streams.h"

#include <algorithm>

namespace turnpike::simulation {

void Streams::send(const Sent& sent) {
  const FiveTuple& by = sent.five_tuple;
  if (!is_open(by)) {
    // A worker has what is said of a five-tuple in its order: the last one's end comes first.
    if (untold_.erase(by) != 0) cluster_.stream_closed(by);
    if (closed_.contains(by)) saw(StreamEvent::kComesBack);
  }
  open_[by].up.push_back(sent);
}

void Streams::leave(const FiveTuple& five_tuple) {
  const auto found = open_.find(five_tuple);
  if (found != open_.end() && below_(2) == 0) close(found);
}

void Streams::answer(Lesson lesson) {
  const auto found = open_.find(lesson.by);
  if (found != open_.end()) return found->second.down.push_back(std::move(lesson));
  saw(StreamEvent::kAnswerTooLate);
  untold_.insert(lesson.by);
}

void Streams::step(const std::function<void(Sent)>& server,
                   const std::function<void(Lesson)>& client) {
  for (auto one = open_.begin(); one != open_.end();) {
    Connection& connection = one->second;
    if (below_(1500) == 0) {
      one = close(one);
      continue;
    }
    if (connection.stalls == 0 && below_(30) == 0) connection.stalls = 1 + below_(60);
    if (connection.stalls != 0) {
      --connection.stalls;
    } else {
      for (; !connection.up.empty() && below_(3) != 0; connection.up.pop_front())
        server(std::move(connection.up.front()));
      for (; !connection.down.empty() && below_(3) != 0; connection.down.pop_front())
        client(std::move(connection.down.front()));
    }
    ++one;
  }
  for (auto one = untold_.begin(); one != untold_.end();) {
    if (below_(3) == 0) {
      cluster_.stream_closed(*one);
      one = untold_.erase(one);
    } else {
      ++one;
    }
  }
  if (deaf_ == 0 && below_(100) == 0) deaf_ = 1 + below_(300);
  if (deaf_ != 0) {
    --deaf_;
  } else {
    hear();
  }
}

Streams::Open::iterator Streams::close(Open::iterator connection) {
  const auto& [five_tuple, it] = *connection;
  saw(StreamEvent::kClose);
  if (!it.up.empty()) saw(StreamEvent::kQuestionsLost);
  if (!it.down.empty()) saw(StreamEvent::kAnswersLost);
  if (it.stalls != 0 && (!it.up.empty() || !it.down.empty())) saw(StreamEvent::kStalledClose);
  closed_.insert(five_tuple);
  untold_.insert(five_tuple);
  return open_.erase(connection);
}

void Streams::hear() {
  switch (cluster_.hear_of_stream()) {
    case Cluster::Heard::kNothing:
      return;
    case Cluster::Heard::kTooLate:
      return saw(StreamEvent::kTooLate);
    case Cluster::Heard::kMistakable:
      return saw(StreamEvent::kMistakable);
    case Cluster::Heard::kEnd:
      return saw(StreamEvent::kEnd);
    case Cluster::Heard::kStays:
      return saw(StreamEvent::kStays);
    case Cluster::Heard::kMoves:
      return saw(StreamEvent::kMoves);
  }
}

void Streams::end() {
  while (!open_.empty())
    close(open_.begin());
  for (const FiveTuple& one : untold_)
    cluster_.stream_closed(one);
  untold_.clear();
  while (cluster_.has_to_hear())
    hear();
  check();
}

void Streams::check() const {
  for (const FiveTuple& one : cluster_.needed_streams())
    require(is_open(one) || untold_.contains(one), "something outlives its connection");
}

}  // namespace turnpike::simulation
