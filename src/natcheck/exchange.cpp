// One loop: what is due is sent, then poll() waits for answers or for the next that is due.
#include "natcheck/exchange.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <map>

namespace turnpike::natcheck {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kPace{100};        // between new questions
constexpr milliseconds kFirstPause{250};  // before the second try; doubled after each
constexpr std::size_t kDatagramMax = 65536;
constexpr int kReadsMax = 64;  // in a row: a flood ends nothing

class Asking {
 public:
  Asking(std::span<Question> questions, Clock::duration patience)
      : questions_(questions), patience_(patience), plans_(questions.size()) {
    for (Question& question : questions_) {
      if (!question.arrives_at) question.arrives_at = question.from;
      ids_.push_back(fresh_id());
      messages_.push_back(binding_request(ids_.back(), question.options));
    }
  }

  void run(const std::function<bool()>& enough) {
    while (open_ > 0) {
      const Clock::time_point next = send_what_is_due();
      if (enough && std::exchange(one_is_over_, false) && enough()) return;
      if (open_ > 0) wait(next);
    }
  }

 private:
  struct Plan {
    bool over = false;
    Clock::time_point next_try{};
    Clock::duration pause = kFirstPause;
  };

  // Returns when something is due next.
  Clock::time_point send_what_is_due() {
    const auto now = Clock::now();
    auto next = now + patience_;
    for (std::size_t i = 0; i < questions_.size(); ++i) {
      Question& question = questions_[i];
      Plan& plan = plans_[i];
      if (plan.over) continue;
      const bool fresh = question.outcome == Outcome::kNotAsked;
      auto due = fresh ? std::max(question.not_before, next_new_) : plan.next_try;
      if (!fresh && now >= question.first_sent + patience_) {
        end(i, Outcome::kSilent);
        continue;
      }
      if (now >= due) {
        send(i, now, fresh);
        if (plan.over) continue;
        due = plan.next_try;
      }
      if (!fresh) due = std::min(due, question.first_sent + patience_);
      next = std::min(next, due);
    }
    return next;
  }

  void send(std::size_t i, Clock::time_point now, bool fresh) {
    Question& question = questions_[i];
    Plan& plan = plans_[i];
    if (fresh) {
      question.outcome = Outcome::kSilent;  // so far
      question.first_sent = now;
      next_new_ = now + kPace;
    }
    question.last_sent = now;
    plan.next_try = now + plan.pause;
    plan.pause *= 2;
    const KernelAddress to(question.to);
    const auto& message = messages_[i];
    const int fd = question.from->get();
    ssize_t sent = sendto(fd, message.data(), message.size(), 0, to.get(), to.size());
    // An error of what was sent before, told now: once more.
    if (sent < 0) sent = sendto(fd, message.data(), message.size(), 0, to.get(), to.size());
    if (sent < 0 && (errno == ENETUNREACH || errno == EHOSTUNREACH || errno == EACCES))
      end(i, Outcome::kUnreachable);
  }

  void end(std::size_t i, Outcome outcome) {
    plans_[i].over = one_is_over_ = true;
    questions_[i].outcome = outcome;
    --open_;
  }

  void wait(Clock::time_point until) {
    std::map<int, UdpSocket> sockets;
    for (std::size_t i = 0; i < questions_.size(); ++i) {
      if (plans_[i].over || questions_[i].outcome == Outcome::kNotAsked) continue;
      for (const UdpSocket& socket : {questions_[i].from, questions_[i].arrives_at})
        sockets.emplace(socket->get(), socket);
    }
    std::vector<pollfd> polled;
    for (const auto& [fd, socket] : sockets)
      polled.push_back({fd, POLLIN, 0});
    const auto left = std::chrono::ceil<milliseconds>(until - Clock::now()).count();
    if (poll(polled.data(), polled.size(), static_cast<int>(std::max<long>(left, 0))) <= 0) return;
    for (const pollfd& one : polled) {
      if ((one.revents & POLLERR) != 0) read_errors(one.fd);
      if ((one.revents & POLLIN) != 0) read_all(one.fd);
    }
  }

  void read_all(int fd) {
    static thread_local std::array<std::uint8_t, kDatagramMax> room;
    for (int i = 0; i < kReadsMax; ++i) {
      sockaddr_storage from{};
      socklen_t size = sizeof from;
      const ssize_t got =
          recvfrom(fd, room.data(), room.size(), 0, reinterpret_cast<sockaddr*>(&from), &size);
      if (got < 0) return;
      take(fd, {room.data(), static_cast<std::size_t>(got)}, endpoint_of(from));
    }
  }

  void take(int fd, stun::Bytes bytes, const Endpoint& source) {
    for (std::size_t i = 0; i < questions_.size(); ++i) {
      Question& question = questions_[i];
      if (plans_[i].over || question.outcome == Outcome::kNotAsked) continue;
      const bool here = fd == question.arrives_at->get();
      if (!here && fd != question.from->get()) continue;
      if (question.own_request) {
        if (!here || !is_request(bytes, ids_[i])) continue;
      } else {
        const auto answer = read_answer(bytes, ids_[i]);
        if (!answer) continue;
        question.answer = *answer;
      }
      question.arrived = Clock::now();
      question.source = source;
      question.strayed = !here;
      end(i, question.answer.error == 0 ? Outcome::kAnswered : Outcome::kRefused);
      return;
    }
  }

  // Which of the questions an ICMP error is about stands in the queue of the socket's errors.
  void read_errors(int fd) {
    for (int i = 0; i < kReadsMax; ++i) {
      sockaddr_storage about{};
      std::array<std::uint8_t, 512> control{};
      msghdr message{};
      message.msg_name = &about;
      message.msg_namelen = sizeof about;
      message.msg_control = control.data();
      message.msg_controllen = control.size();
      if (recvmsg(fd, &message, MSG_ERRQUEUE) < 0) return;
      if (message.msg_namelen == 0) continue;
      const Endpoint to = endpoint_of(about);
      for (std::size_t n = 0; n < questions_.size(); ++n) {
        const Question& question = questions_[n];
        // Whose answer takes another way may have it nevertheless.
        if (!plans_[n].over && question.outcome != Outcome::kNotAsked &&
            question.from->get() == fd && question.to == to && question.options.padding == 0 &&
            !question.own_request)
          end(n, Outcome::kUnreachable);
      }
    }
  }

  std::span<Question> questions_;
  Clock::duration patience_;
  std::vector<Plan> plans_;
  std::vector<stun::TransactionId> ids_;
  std::vector<std::vector<std::uint8_t>> messages_;
  std::size_t open_ = questions_.size();
  bool one_is_over_ = false;
  Clock::time_point next_new_{};
};

}  // namespace

UdpSocket open_udp(const Path& path, std::uint16_t port) {
  auto made = std::make_shared<Descriptor>(open_socket(path, SOCK_DGRAM, port));
  const int on = 1;
  const bool v4 = path.local.family == Family::kIpv4;
  setsockopt(made->get(), v4 ? int{IPPROTO_IP} : int{IPPROTO_IPV6}, v4 ? IP_RECVERR : IPV6_RECVERR,
             &on, sizeof on);
  return made;
}

void ask(std::span<Question> questions, Clock::duration patience,
         const std::function<bool()>& enough) {
  Asking(questions, patience).run(enough);
}

}  // namespace turnpike::natcheck
