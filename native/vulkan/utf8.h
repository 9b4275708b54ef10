// Text that reaches Python must be UTF-8, whatever drivers and damaged files hold.
#ifndef FERRYLM_VULKAN_UTF8_H_
#define FERRYLM_VULKAN_UTF8_H_

#include <string>
#include <string_view>

namespace ferrylm::vulkan {

bool is_utf8(std::string_view text);

// The text with '?' for every byte that is not part of a whole character.
std::string to_utf8(std::string_view text);

}  // namespace ferrylm::vulkan

#endif  // FERRYLM_VULKAN_UTF8_H_
