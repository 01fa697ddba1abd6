// A parallel loop over XLA's own CPU threads.

#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>

#include "xla/ffi/api/ffi.h"

namespace handjax {

// Calls work(i) for every i below `count`, in any order, on all threads of the pool. The calling
// thread, which may belong to the pool, takes part and waits only for items that others have
// started, so there is no deadlock when all threads of the pool are busy.
template <typename Work>
void ParallelFor(xla::ffi::ThreadPool& pool, int64_t count, const Work& work) {
  struct Progress {
    std::atomic<int64_t> next{0}, done{0};
  };
  // Shared ownership: helpers that start late, with nothing left to do, outlive this call.
  const auto progress = std::make_shared<Progress>();
  const auto help = [progress, count, &work] {
    for (int64_t i; (i = progress->next.fetch_add(1)) < count;) {
      work(i);
      if (progress->done.fetch_add(1) + 1 == count) progress->done.notify_all();
    }
  };
  const int64_t helpers = std::min<int64_t>(pool.num_threads(), count) - 1;
  for (int64_t i = 0; i < helpers; ++i) pool.Schedule([help] { help(); });
  help();
  for (int64_t done; (done = progress->done.load()) < count;) progress->done.wait(done);
}

}  // namespace handjax
