// Fibers of one workgroup, and who runs next.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <memory>
#include <vector>

#include "workgroup.h"

namespace emulator {

class Fibers {
 public:
  Fibers();
  ~Fibers();
  Fibers(const Fibers&) = delete;
  Fibers& operator=(const Fibers&) = delete;

  // Run `body(argument)` once in each of `size` threads, from the last one on if `backward`.
  // Return false where a thread failed.
  bool run(Index size, bool backward, void (*body)(const void*), const void* argument);

  // Wait for wake(place).
  void sleep(const void* place, const char* name);
  void wake(const void* place);
  // Wait, and be asked now and then whether to go on.
  void poll(const char* name, bool (*ready)(const void*), const void* context);

  // Leave the launch; never returns to the thread.
  [[noreturn]] void abandon();

  unsigned current() const { return current_; }
  unsigned count() const { return count_; }
  bool running() const { return running_; }
  bool backward() const { return backward_; }

 private:
  enum class State : unsigned char { kReady, kAsleep, kPolling, kEnded };

  struct Fiber {
    jmp_buf context;
    Index index;
    const char* waits_for;
    bool (*ready)(const void*);
    const void* ready_context;
    const void* place;
    bool started;
  };

  static void enter();
  void start(unsigned thread);
  void switch_to_next();
  void switch_to(unsigned thread);
  unsigned find_next();
  unsigned find_in_warp(unsigned warp);  // count() where none can go on
  bool can_go_on(unsigned thread) const;
  [[noreturn]] void report_deadlock();
  void end();

  std::vector<State> states_;
  std::vector<Fiber> fibers_;
  unsigned char* stacks_ = nullptr;
  jmp_buf launcher_;
  unsigned current_ = 0, count_ = 0, alive_ = 0;
  bool backward_ = false, running_ = false;
  void (*body_)(const void*) = nullptr;
  const void* argument_ = nullptr;
};

Fibers& fibers();
void reset_meetings();
bool conclude_without_absent_lanes();  // whether some can go on
void forget_copies();
void forget_bulk_copies();
bool bulk_copies_are_done();
void forget_products();
bool products_are_done();

}  // namespace emulator
