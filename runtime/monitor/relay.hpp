// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "json_log.hpp"
#include "options.hpp"

namespace dray::monitor {

/// One connection to an attached CLI. Buffers exist only while there is something in them.
struct Client {
  int fd = -1;
  bool first = false;  ///< its slowness holds the container's output back
  bool used_stdin = false;
  bool input_ended = false;  ///< it sends no more
  bool hung_up = false;      ///< it is gone; what it sent is still being delivered
  bool registered = false;
  uint32_t interest = 0;
  char* in = nullptr;
  size_t in_from = 0, in_to = 0;
  size_t frame_done = 0;  ///< bytes of the front stdin frame that the container has
  char* out = nullptr;
  size_t out_from = 0, out_to = 0, out_capacity = 0;

  size_t pending() const { return out_to - out_from; }
};

/// Moves bytes between the container's stdio, the log and the clients, on one epoll. Never blocks but in the log's
/// write(2).
class Relay {
 public:
  bool start(const Options& options);
  /// Watches a pidfd until it is readable.
  bool watch(int pidfd);
  void unwatch(int pidfd);
  /// Handles events until the watched pidfd is readable (true) or `timeout_ms` (-1: none) is over (false).
  bool run(int timeout_ms);
  /// The process has ended: takes what its pipes still hold (bounded, a grandchild may go on writing), ends log and
  /// input.
  void finish_output();
  /// Asks the first client to clean up. False: it is gone, or does not say within `timeout_ms` that it has.
  bool delegate_cleanup(int timeout_ms);
  /// To all clients; nothing follows it.
  void send_exit(int32_t code);
  /// Bytes that clients have not taken: of the first one, of the others.
  size_t pending_first() const;
  size_t pending_others() const;
  void drop_others();

 private:
  static constexpr size_t kClients = 64;
  static constexpr size_t kInput = 8 + 64 * 1024 + 4096;
  static constexpr size_t kChunk = 32 * 1024;
  static constexpr size_t kMaxPending = 4u << 20;  ///< of a client that is not the first: then it is disconnected
  static constexpr size_t kMaxDrain = 8u << 20;
  struct Source {
    int fd = -1;
    bool registered = false;
    uint32_t interest = 0;
  };

  void update_interests();
  void set_interest(int fd, uint64_t tag, bool& registered, uint32_t& current, bool wanted, uint32_t events);
  bool read_output(int index);  ///< false: nothing there now
  void broadcast(uint8_t kind, const char* data, size_t size);
  void send_frame(Client& client, uint8_t kind, const char* data, size_t size);
  void keep_for_later(Client& client, const char* data, size_t size);
  void flush_client(Client& client);
  bool accept_client();  ///< false: nobody waits
  void add_client(int fd, bool first);
  void drop_client(Client& client);
  void read_client(Client& client);
  void process_input(Client& client);
  /// How many bytes the container took (all, when it has no stdin any more); -1: none can be written now.
  long write_input(const char* data, size_t size);
  void close_input();
  void close_output(int index);

  Options options_;
  JsonLog log_;
  int epoll_ = -1;
  Source outputs_[2];  ///< stdout or the console; stderr
  Source input_;       ///< stdin's pipe; with a console, that is outputs_[0]
  Source listener_;
  Source watched_;
  bool input_blocked_ = false, finished_ = false;
  bool cleaned_up_ = false;   ///< said the first client
  int console_retry_ms_ = 0;  ///< >0: no process has the terminal open; look again after this time
  Client clients_[kClients];
  char chunk_[kChunk];
};

}  // namespace dray::monitor
