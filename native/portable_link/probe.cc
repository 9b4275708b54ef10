// Linked once while configuring: uses what the native libraries use of the C++ library.

#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>

extern "C" __attribute__((visibility("default"))) int ferrylm_portable_link_probe() {
  auto numbers = std::make_shared<std::map<std::string, int>>();
  std::mutex mutex;
  std::condition_variable condition;
  std::thread worker([&] {
    std::lock_guard<std::mutex> lock(mutex);
    (*numbers)["one"] = 1;
    condition.notify_one();
  });
  worker.join();
  try {
    std::ostringstream text;
    text << numbers->at("two") << std::filesystem::exists("/");
    return static_cast<int>(std::stoul(text.str()) + std::strtoull("7", nullptr, 10));
  } catch (const std::out_of_range&) {
    return 0;
  }
}
