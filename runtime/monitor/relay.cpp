// SPDX-License-Identifier: Apache-2.0
// The monitor's relay. Output is read only as fast as the first client takes it (a pipe to `less` stops the container,
// as without a container); other clients are buffered up to a limit and then cut off. Input is taken from clients only
// as fast as the container reads it. All descriptors are level-triggered and registered only while their event is
// wanted.

#include "relay.hpp"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <initializer_list>

namespace dray::monitor {
namespace {

enum Tag : uint64_t { kOutput0 = 1000, kOutput1, kInputTag, kListener, kWatched };  // below: index of a client
enum Kind : uint8_t { kStdin, kStdinClose, kResize, kStdout, kStderr, kExited, kCleanUp, kCleanedUp };
constexpr size_t kHeader = 8;

int64_t now_ms() {
  timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * int64_t{1000} + now.tv_nsec / 1000000;
}

void set_nonblocking(int fd) {
  int flags = fcntl(fd, F_GETFL);
  if (flags >= 0) fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

uint32_t little_endian(const char* at) {
  auto bytes = reinterpret_cast<const unsigned char*>(at);
  return bytes[0] | static_cast<uint32_t>(bytes[1]) << 8 | static_cast<uint32_t>(bytes[2]) << 16 |
         static_cast<uint32_t>(bytes[3]) << 24;
}

void put_header(char* out, uint8_t kind, size_t size) {
  memset(out, 0, kHeader);
  out[0] = static_cast<char>(kind);
  for (int i = 0; i < 4; ++i) out[4 + i] = static_cast<char>(size >> (8 * i));
}

}  // namespace

bool Relay::start(const Options& options) {
  options_ = options;
  log_.open(options.log);
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_ < 0) return false;
  outputs_[0].fd = options.console >= 0 ? options.console : options.out;
  outputs_[1].fd = options.err;
  input_.fd = options.in;
  listener_.fd = options.listener;
  for (int fd : {outputs_[0].fd, outputs_[1].fd, input_.fd})
    if (fd >= 0) set_nonblocking(fd);
  if (options.client >= 0) add_client(options.client, true);
  return true;
}

bool Relay::watch(int pidfd) {
  watched_ = Source{pidfd};
  set_interest(pidfd, kWatched, watched_.registered, watched_.interest, true, EPOLLIN);
  return watched_.registered;
}

void Relay::unwatch(int pidfd) {
  set_interest(pidfd, kWatched, watched_.registered, watched_.interest, false, 0);
  watched_ = Source{};
}

void Relay::set_interest(int fd, uint64_t tag, bool& registered, uint32_t& current, bool wanted, uint32_t events) {
  if (fd < 0 || (registered == wanted && (!wanted || current == events))) return;
  epoll_event event = {};
  event.events = events;
  event.data.u64 = tag;
  int operation = !wanted ? EPOLL_CTL_DEL : registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
  if (epoll_ctl(epoll_, operation, fd, &event) != 0 && wanted) return;
  registered = wanted;
  current = events;
}

void Relay::update_interests() {
  bool paused = pending_first() > 0;
  bool input_waits = false;
  for (size_t i = 0; i < kClients; ++i) {
    Client& client = clients_[i];
    if (client.fd < 0) continue;
    bool holds_input = input_blocked_ && client.in_to > client.in_from;
    input_waits |= holds_input;
    uint32_t events = (client.input_ended || holds_input ? 0u : static_cast<uint32_t>(EPOLLIN)) |
                      (client.pending() > 0 ? static_cast<uint32_t>(EPOLLOUT) : 0u);
    set_interest(client.fd, i, client.registered, client.interest, !client.hung_up, events);
  }
  bool console = options_.console >= 0;
  for (int i : {0, 1}) {
    Source& output = outputs_[i];
    uint32_t events = paused || (i == 0 && console_retry_ms_ > 0) ? 0u : static_cast<uint32_t>(EPOLLIN);
    if (i == 0 && console && input_waits && console_retry_ms_ == 0) events |= EPOLLOUT;
    set_interest(output.fd, i == 0 ? kOutput0 : kOutput1, output.registered, output.interest, events != 0, events);
  }
  set_interest(input_.fd, kInputTag, input_.registered, input_.interest, input_waits, EPOLLOUT);
  bool room = false;
  for (const Client& client : clients_) room |= client.fd < 0;
  set_interest(listener_.fd, kListener, listener_.registered, listener_.interest, room, EPOLLIN);
}

bool Relay::run(int timeout_ms) {
  const int64_t deadline = timeout_ms < 0 ? -1 : now_ms() + timeout_ms;
  for (;;) {
    update_interests();
    int wait = -1;
    if (deadline >= 0) {
      int64_t left = deadline - now_ms();
      if (left <= 0) return false;
      wait = static_cast<int>(left);
    }
    bool retry = console_retry_ms_ > 0 && !finished_;
    if (retry && (wait < 0 || wait > console_retry_ms_)) wait = console_retry_ms_;
    epoll_event events[32];
    int count = epoll_wait(epoll_, events, 32, wait);
    if (count == 0 && retry) {
      int next = console_retry_ms_ < 1000 ? console_retry_ms_ * 2 : 1000;
      console_retry_ms_ = 0;
      if (!read_output(0) && console_retry_ms_ > 0) console_retry_ms_ = next;
    }
    bool ended = false;
    for (int i = 0; i < count; ++i) {
      uint64_t tag = events[i].data.u64;
      if (tag == kWatched) {
        ended = true;
      } else if (tag == kOutput0 || tag == kOutput1) {
        if ((events[i].events & EPOLLOUT) != 0) input_blocked_ = false;
        // Another client of this batch may have filled the first one's buffer: one chunk more is fine.
        if ((events[i].events & ~static_cast<uint32_t>(EPOLLOUT)) != 0) read_output(tag == kOutput0 ? 0 : 1);
      } else if (tag == kInputTag) {
        input_blocked_ = false;
      } else if (tag == kListener) {
        accept_client();
      } else if (tag < kClients && clients_[tag].fd >= 0) {
        Client& client = clients_[tag];
        if ((events[i].events & EPOLLIN) != 0 && !client.input_ended) read_client(client);
        if (client.fd >= 0 && (events[i].events & EPOLLOUT) != 0) flush_client(client);
        if (client.fd >= 0 && (events[i].events & (EPOLLHUP | EPOLLERR)) != 0) {
          client.hung_up = true;  // both directions are closed; bytes it sent before may still be in the socket
        }
      }
    }
    for (Client& client : clients_) {
      if (client.fd < 0) continue;
      process_input(client);
      while (client.fd >= 0 && client.hung_up && !client.input_ended && !input_blocked_) {
        read_client(client);
        process_input(client);
      }
      if (client.fd >= 0 && client.hung_up && client.input_ended && client.in_to == client.in_from) drop_client(client);
    }
    if (ended) return true;
    if (cleaned_up_) return false;
    if (finished_ && deadline >= 0 && watched_.fd < 0 && pending_first() + pending_others() == 0) return false;
  }
}

// -- the container's output
// --------------------------------------------------------------------------------------------

bool Relay::read_output(int index) {
  int fd = outputs_[index].fd;
  if (fd < 0) return false;
  ssize_t size = read(fd, chunk_, kChunk);
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) {
    log_.flush();
    return false;
  }
  if (size < 0 && errno == EIO && options_.console >= 0 && index == 0 && !finished_) {
    // Nobody has the terminal open. A process may open it again, and epoll cannot wait for that.
    console_retry_ms_ = 50;
    return false;
  }
  if (size <= 0) {
    close_output(index);
    return false;
  }
  auto stream = index == 0 ? JsonLog::stdout_stream : JsonLog::stderr_stream;
  log_.append(stream, chunk_, static_cast<size_t>(size));
  if (static_cast<size_t>(size) < kChunk) log_.flush();
  broadcast(index == 0 ? kStdout : kStderr, chunk_, static_cast<size_t>(size));
  return true;
}

void Relay::finish_output() {
  finished_ = true;
  const int64_t deadline = now_ms() + 2000;
  for (int index : {0, 1})
    for (size_t taken = 0; taken < kMaxDrain && now_ms() < deadline && read_output(index); taken += kChunk) {
    }
  close_output(0);
  close_output(1);
  log_.finish();
  close_input();
  input_blocked_ = false;
}

void Relay::close_output(int index) {
  Source& output = outputs_[index];
  if (output.fd < 0) return;
  set_interest(output.fd, 0, output.registered, output.interest, false, 0);
  close(output.fd);
  output = Source{};
  if (index == 0) options_.console = -1;
}

void Relay::broadcast(uint8_t kind, const char* data, size_t size) {
  for (Client& client : clients_)
    if (client.fd >= 0 && !client.hung_up) send_frame(client, kind, data, size);
}

// -- clients
// -----------------------------------------------------------------------------------------------------------

void Relay::send_frame(Client& client, uint8_t kind, const char* data, size_t size) {
  char header[kHeader];
  put_header(header, kind, size);
  if (client.pending() > 0) {
    keep_for_later(client, header, kHeader);
    if (client.fd >= 0) keep_for_later(client, data, size);
    return;
  }
  iovec parts[2] = {{header, kHeader}, {const_cast<char*>(data), size}};
  msghdr message = {};
  message.msg_iov = parts;
  message.msg_iovlen = 2;
  ssize_t sent = 0;
  do sent = sendmsg(client.fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  while (sent < 0 && errno == EINTR);
  if (sent < 0) {
    if (errno != EAGAIN) {
      client.hung_up = true;
      return;
    }
    sent = 0;
  }
  auto done = static_cast<size_t>(sent);
  if (done < kHeader) keep_for_later(client, header + done, kHeader - done);
  size_t from = done < kHeader ? 0 : done - kHeader;
  if (client.fd >= 0 && from < size) keep_for_later(client, data + from, size - from);
}

void Relay::keep_for_later(Client& client, const char* data, size_t size) {
  if (!client.first && client.pending() + size > kMaxPending) {
    drop_client(client);
    return;
  }
  if (client.out_to + size > client.out_capacity) {
    memmove(client.out, client.out + client.out_from, client.pending());
    client.out_to -= client.out_from;
    client.out_from = 0;
    size_t capacity = client.out_capacity == 0 ? 2 * kChunk : client.out_capacity;
    while (capacity < client.out_to + size) capacity *= 2;
    auto grown = capacity == client.out_capacity ? client.out : static_cast<char*>(realloc(client.out, capacity));
    if (grown == nullptr) {
      drop_client(client);
      return;
    }
    client.out = grown;
    client.out_capacity = capacity;
  }
  memcpy(client.out + client.out_to, data, size);
  client.out_to += size;
}

void Relay::flush_client(Client& client) {
  while (client.pending() > 0) {
    ssize_t sent = send(client.fd, client.out + client.out_from, client.pending(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) {
      if (errno == EAGAIN) return;
      client.hung_up = true;
      return;
    }
    client.out_from += static_cast<size_t>(sent);
  }
  free(client.out);
  client.out = nullptr;
  client.out_from = client.out_to = client.out_capacity = 0;
}

bool Relay::accept_client() {
  int fd = accept4(listener_.fd, nullptr, nullptr, SOCK_CLOEXEC);
  if (fd < 0) {
    if (errno == EMFILE || errno == ENFILE || errno == ENOMEM) usleep(10'000);  // still in the queue: no busy loop
    return false;
  }
  // The socket is 0600 in a directory of ours; this holds even where someone loosened that.
  ucred peer = {};
  socklen_t length = sizeof(peer);
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0 || (peer.uid != geteuid() && peer.uid != 0)) {
    close(fd);
    return true;
  }
  add_client(fd, false);
  return true;
}

void Relay::add_client(int fd, bool first) {
  for (Client& client : clients_) {
    if (client.fd >= 0) continue;
    client = Client{};
    client.fd = fd;
    client.first = first;
    return;
  }
  close(fd);
}

void Relay::drop_client(Client& client) {
  if (client.fd < 0) return;
  bool owns_input = options_.stdin_once && options_.console < 0 && (client.first || client.used_stdin);
  close(client.fd);  // also leaves the epoll: nobody else has this description
  free(client.in);
  free(client.out);
  client = Client{};
  if (owns_input) close_input();
}

void Relay::read_client(Client& client) {
  if (client.in == nullptr) {
    client.in = static_cast<char*>(malloc(kInput));
    if (client.in == nullptr) return drop_client(client);
  }
  if (client.in_from > 0) {
    memmove(client.in, client.in + client.in_from, client.in_to - client.in_from);
    client.in_to -= client.in_from;
    client.in_from = 0;
  }
  if (client.in_to == kInput) return;  // a whole frame is there: process_input makes room
  ssize_t size = recv(client.fd, client.in + client.in_to, kInput - client.in_to, MSG_DONTWAIT);
  if (size < 0 && (errno == EINTR || (errno == EAGAIN && !client.hung_up))) return;
  if (size <= 0)
    client.input_ended = true;  // it may only have shut down its sending side
  else
    client.in_to += static_cast<size_t>(size);
}

void Relay::process_input(Client& client) {
  while (client.in_to - client.in_from >= kHeader) {
    const char* frame = client.in + client.in_from;
    auto kind = static_cast<uint8_t>(frame[0]);
    size_t size = little_endian(frame + 4);
    bool valid = (kind == kStdin && size <= 64 * 1024) || (kind == kStdinClose && size == 0) ||
                 (kind == kResize && size == 4) || (kind == kCleanedUp && size == 0 && client.first);
    if (!valid || frame[1] != 0 || frame[2] != 0 || frame[3] != 0) return drop_client(client);
    if (client.in_to - client.in_from < kHeader + size) break;
    const char* payload = frame + kHeader;
    if (kind == kStdin) {
      client.used_stdin = true;
      while (client.frame_done < size) {
        long written = write_input(payload + client.frame_done, size - client.frame_done);
        if (written < 0) return;  // goes on when the container reads
        client.frame_done += static_cast<size_t>(written);
      }
      client.frame_done = 0;
    } else if (kind == kStdinClose) {
      client.used_stdin = true;
      if (options_.stdin_once && options_.console < 0) close_input();
    } else if (kind == kCleanedUp) {
      cleaned_up_ = true;
    } else if (options_.console >= 0) {
      winsize window = {};
      window.ws_row = static_cast<unsigned short>(little_endian(payload));
      window.ws_col = static_cast<unsigned short>(little_endian(payload) >> 16);
      ioctl(options_.console, TIOCSWINSZ, &window);
    }
    client.in_from += kHeader + size;
  }
  if (client.input_ended && client.in_to - client.in_from > 0)
    client.in_from = client.in_to;  // half a frame: never complete
  if (client.in_from == client.in_to) {
    free(client.in);
    client.in = nullptr;
    client.in_from = client.in_to = 0;
  }
}

long Relay::write_input(const char* data, size_t size) {
  int fd = options_.console >= 0 ? options_.console : input_.fd;
  if (fd < 0 || finished_) return static_cast<long>(size);
  if (input_blocked_) return -1;
  ssize_t written = 0;
  do written = write(fd, data, size);
  while (written < 0 && errno == EINTR);
  if (written > 0) return written;
  if (written < 0 && errno == EAGAIN) {
    input_blocked_ = true;
    return -1;
  }
  if (options_.console < 0) close_input();  // EPIPE: nobody reads it any more
  return static_cast<long>(size);
}

void Relay::close_input() {
  if (input_.fd < 0) return;
  set_interest(input_.fd, kInputTag, input_.registered, input_.interest, false, 0);
  close(input_.fd);
  input_ = Source{};
  input_blocked_ = false;
}

bool Relay::delegate_cleanup(int timeout_ms) {
  Client* first = nullptr;
  for (Client& client : clients_)
    if (client.fd >= 0 && client.first && !client.hung_up) first = &client;
  if (first == nullptr) return false;
  send_frame(*first, kCleanUp, nullptr, 0);
  const int64_t deadline = now_ms() + timeout_ms;
  cleaned_up_ = false;
  bool waiting = true;
  while (waiting) {
    int64_t left = deadline - now_ms();
    // In slices, because run() does not tell that a client is gone.
    if (left > 0) run(static_cast<int>(left < 50 ? left : 50));
    waiting = left > 0 && !cleaned_up_ && first->fd >= 0 && first->first && !first->hung_up;
  }
  const bool done = cleaned_up_;
  cleaned_up_ = false;
  return done;
}

void Relay::send_exit(int32_t code) {
  char payload[4];
  for (int i = 0; i < 4; ++i) payload[i] = static_cast<char>(static_cast<uint32_t>(code) >> (8 * i));
  // Who is still in the queue gets it too.
  if (listener_.fd >= 0) {
    for (size_t i = 0; i < kClients && accept_client(); ++i) {
    }
    set_interest(listener_.fd, kListener, listener_.registered, listener_.interest, false, 0);
    close(listener_.fd);
    listener_ = Source{};
  }
  broadcast(kExited, payload, sizeof(payload));
}

size_t Relay::pending_first() const {
  for (const Client& client : clients_)
    if (client.fd >= 0 && client.first && !client.hung_up) return client.pending();
  return 0;
}

size_t Relay::pending_others() const {
  size_t sum = 0;
  for (const Client& client : clients_)
    if (client.fd >= 0 && !client.first && !client.hung_up) sum += client.pending();
  return sum;
}

void Relay::drop_others() {
  for (Client& client : clients_)
    if (client.fd >= 0 && !client.first) drop_client(client);
}

}  // namespace dray::monitor
