/* A stand-in for NVIDIA's libcuda.so.1: it claims any device and driver, and computes nothing.
 *
 * STAND_IN_CUDA holds key=value pairs with ';' between them:
 *   init=N     what cuInit returns; version=N what cuDriverGetVersion says, 13000 by default
 *   device=MAJOR.MINOR,BYTES,NAME[,prohibited][,integrated]   once for each device
 *   load=N     what cuModuleLoadData returns; missing=NAME a kernel that no module has
 * STAND_IN_CUDA_LOG names a file that gets a line for each call that matters.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_DEVICES 8
enum { INVALID_VALUE = 1, INVALID_DEVICE = 101, NOT_FOUND = 500 };

typedef struct {
  int major, minor, prohibited, integrated;
  size_t bytes;
  char name[128];
} Device;

typedef struct {
  unsigned id;
  unsigned padding;
  union {
    int number;
    char bytes[64];
  } value;
} LaunchAttribute;

typedef struct {
  unsigned grid[3], block[3], shared_bytes;
  void* stream;
  LaunchAttribute* attributes;
  unsigned attribute_count;
} LaunchConfig;

static const char* find_setting(const char* key, int which) {
  const char* at = getenv("STAND_IN_CUDA");
  size_t length = strlen(key);
  while (at != NULL && *at != '\0') {
    if (strncmp(at, key, length) == 0 && at[length] == '=' && which-- == 0) return at + length + 1;
    at = strchr(at, ';');
    if (at != NULL) ++at;
  }
  return NULL;
}

static int setting(const char* key, int otherwise) {
  const char* text = find_setting(key, 0);
  return text != NULL ? atoi(text) : otherwise;
}

static int read_device(int index, Device* device) {
  const char* text = index < MOST_DEVICES ? find_setting("device", index) : NULL;
  if (index < 0 || text == NULL) return INVALID_DEVICE;
  memset(device, 0, sizeof(*device));
  sscanf(text, "%d.%d,%zu,%127[^;,]", &device->major, &device->minor, &device->bytes,
         device->name);
  const char* end = strchr(text, ';');
  size_t length = end != NULL ? (size_t)(end - text) : strlen(text);
  char line[512] = {0};
  memcpy(line, text, length < sizeof(line) ? length : sizeof(line) - 1);
  device->prohibited = strstr(line, ",prohibited") != NULL;
  device->integrated = strstr(line, ",integrated") != NULL;
  return 0;
}

static void note(const char* format, ...) {
  const char* path = getenv("STAND_IN_CUDA_LOG");
  FILE* file = path != NULL ? fopen(path, "a") : NULL;
  if (file == NULL) return;
  va_list arguments;
  va_start(arguments, format);
  vfprintf(file, format, arguments);
  va_end(arguments);
  fputc('\n', file);
  fclose(file);
}

int cuInit(unsigned flags) { return flags != 0 ? INVALID_VALUE : setting("init", 0); }

int cuDriverGetVersion(int* version) {
  *version = setting("version", 13000);
  return 0;
}

int cuDeviceGetCount(int* count) {
  Device ignored;
  for (*count = 0; read_device(*count, &ignored) == 0;) ++*count;
  return 0;
}

int cuDeviceGet(int* device, int index) {
  Device ignored;
  *device = index;
  return read_device(index, &ignored);
}

int cuDeviceGetName(char* name, int length, int index) {
  Device device;
  int status = read_device(index, &device);
  if (status == 0) snprintf(name, (size_t)length, "%s", device.name);
  return status;
}

int cuDeviceGetUuid_v2(char* uuid, int index) {
  memset(uuid, 0x10 + index, 16);
  return 0;
}

int cuDeviceTotalMem_v2(size_t* bytes, int index) {
  Device device;
  int status = read_device(index, &device);
  *bytes = device.bytes;
  return status;
}

int cuDeviceGetAttribute(int* value, int which, int index) {
  Device device;
  int status = read_device(index, &device);
  if (status != 0) return status;
  switch (which) {
    case 75: *value = device.major; return 0;
    case 76: *value = device.minor; return 0;
    case 18: *value = device.integrated; return 0;
    case 20: *value = device.prohibited ? 2 : 0; return 0;
    case 97: *value = 232448; return 0;
    default: return INVALID_VALUE;
  }
}

int cuGetErrorName(int error, const char** name) {
  *name = error == 209 ? "CUDA_ERROR_NO_BINARY_FOR_GPU" : "CUDA_ERROR_OF_THE_STAND_IN";
  return 0;
}

int cuGetErrorString(int error, const char** text) { return cuGetErrorName(error, text); }

int cuModuleLoadData(void** module, const void* image) {
  unsigned magic;
  memcpy(&magic, image, sizeof(magic));
  note("load %08x", magic);
  *module = (void*)&find_setting;
  return setting("load", 0);
}

int cuModuleUnload(void* module) { return module == NULL ? INVALID_VALUE : 0; }

int cuModuleGetFunction(void** function, void* module, const char* name) {
  const char* missing = find_setting("missing", 0);
  if (module == NULL || (missing != NULL && strncmp(missing, name, strlen(name)) == 0)) {
    return NOT_FOUND;
  }
  *function = strdup(name); /* never freed: TVM keeps it for good */
  return 0;
}

int cuFuncSetAttribute(void* function, int attribute, int value) {
  note("attribute %s %d %d", (const char*)function, attribute, value);
  return 0;
}

int cuLaunchKernelEx(const LaunchConfig* config, void* function, void** arguments, void** extra) {
  (void)extra;
  int dependent = 0;
  for (unsigned i = 0; i < config->attribute_count; ++i) {
    if (config->attributes[i].id == 6) dependent = config->attributes[i].value.number;
  }
  note("launch %s grid %u %u %u block %u %u %u shared %u stream %s dependent %d first %p",
       (const char*)function, config->grid[0], config->grid[1], config->grid[2], config->block[0],
       config->block[1], config->block[2], config->shared_bytes,
       config->stream != NULL ? "own" : "default", dependent, *(void**)arguments[0]);
  return 0;
}

int cuLaunchKernel(void* function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                   unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared_bytes,
                   void* stream, void** arguments, void** extra) {
  (void)extra;
  note("launch %s grid %u %u %u block %u %u %u shared %u stream %s reads %p turns %u",
       (const char*)function, grid_x, grid_y, grid_z, block_x, block_y, block_z, shared_bytes,
       stream != NULL ? "own" : "default", *(void**)arguments[0], *(unsigned*)arguments[2]);
  return 0;
}

int cuTensorMapEncodeTiled(void) { return INVALID_VALUE; }
