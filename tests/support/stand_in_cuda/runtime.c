/* A stand-in for libcudart.so.13 on the host's memory, as strict as CUDA about captures.
 *
 * STAND_IN_CUDA's key `memory` is the device memory in bytes; STAND_IN_CUDA_LOG gets a line for
 * each call that matters. A stream is a small number that counts its captures.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, INVALID = 1, NO_MEMORY = 2, NOT_WHILE_CAPTURING = 900, NOT_CAPTURING = 901 };

static int capturing = 0;
static int last_error = SUCCESS;
static size_t used_bytes = 0;

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

static size_t total_bytes(void) {
  const char* settings = getenv("STAND_IN_CUDA");
  const char* at = settings != NULL ? strstr(settings, "memory=") : NULL;
  return at != NULL ? strtoull(at + 7, NULL, 10) : (size_t)1 << 30;
}

static int fail(int error) {
  last_error = error;
  return error;
}

int cudaGetLastError(void) {
  int error = last_error;
  last_error = SUCCESS;
  return error;
}

int cudaPeekAtLastError(void) { return last_error; }
const char* cudaGetErrorName(int e) { return e == NO_MEMORY ? "cudaErrorMemoryAllocation" : "cudaErrorStandIn"; }
const char* cudaGetErrorString(int e) { return e == NO_MEMORY ? "out of memory" : "the stand-in refuses"; }

int cudaSetDevice(int device) { return device < 0 ? fail(INVALID) : SUCCESS; }
int cudaGetDevice(int* device) { *device = 0; return SUCCESS; }
int cudaGetDeviceCount(int* count) { *count = 1; return SUCCESS; }
int cudaDeviceGetAttribute(int* value, int which, int device) {
  (void)which, (void)device;
  *value = 1024;
  return SUCCESS;
}
int cudaGetDeviceProperties(void* properties, int device) {
  (void)properties, (void)device;
  return fail(INVALID);
}

int cudaMemGetInfo(size_t* free_bytes, size_t* all_bytes) {
  *all_bytes = total_bytes();
  *free_bytes = *all_bytes - used_bytes;
  return SUCCESS;
}

int cudaMalloc(void** pointer, size_t bytes) {
  if (capturing) return fail(NOT_WHILE_CAPTURING);
  if (bytes > total_bytes() - used_bytes) return fail(NO_MEMORY);
  size_t* block = aligned_alloc(256, (bytes + 511) / 256 * 256);
  if (block == NULL) return fail(NO_MEMORY);
  block[0] = bytes;
  used_bytes += bytes;
  *pointer = (char*)block + 256;
  note("malloc %zu", bytes);
  return SUCCESS;
}

int cudaFree(void* pointer) {
  if (capturing) return fail(NOT_WHILE_CAPTURING);
  if (pointer == NULL) return SUCCESS;
  size_t* block = (size_t*)((char*)pointer - 256);
  used_bytes -= block[0];
  note("free %zu", block[0]);
  free(block);
  return SUCCESS;
}

int cudaMallocHost(void** pointer, size_t bytes) {
  *pointer = malloc(bytes);
  return *pointer == NULL ? fail(NO_MEMORY) : SUCCESS;
}
int cudaFreeHost(void* pointer) { free(pointer); return SUCCESS; }

int cudaMemcpyAsync(void* to, const void* from, size_t bytes, int kind, void* stream) {
  (void)kind;
  if (capturing) {
    note("capture copy %zu", bytes);
    return SUCCESS;
  }
  note("copy %zu stream %s", bytes, stream != NULL ? "own" : "default");
  memmove(to, from, bytes);
  return SUCCESS;
}
int cudaMemcpyPeerAsync(void) { return fail(INVALID); }

int cudaStreamCreateWithFlags(void** stream, unsigned flags) {
  static size_t streams = 0;
  *stream = (void*)(++streams * 64);
  note("stream flags %u", flags);
  return SUCCESS;
}
int cudaStreamCreate(void** stream) { return cudaStreamCreateWithFlags(stream, 0); }
int cudaStreamDestroy(void* stream) { return stream == NULL ? fail(INVALID) : SUCCESS; }
int cudaStreamSynchronize(void* stream) {
  note("synchronize %s", stream != NULL ? "own" : "default");
  return capturing ? fail(NOT_WHILE_CAPTURING) : SUCCESS;
}
int cudaStreamWaitEvent(void* stream, void* event, unsigned flags) {
  (void)stream, (void)event, (void)flags;
  return SUCCESS;
}

int cudaStreamBeginCapture(void* stream, int mode) {
  if (stream == NULL || capturing) return fail(INVALID);
  capturing = 1;
  note("begin capture mode %d", mode);
  return SUCCESS;
}
int cudaStreamEndCapture(void* stream, void** graph) {
  (void)stream;
  *graph = NULL;
  if (!capturing) return fail(NOT_CAPTURING);
  capturing = 0;
  note("end capture");
  *graph = (void*)&capturing;
  return SUCCESS;
}
int cudaGraphInstantiate(void** executable, void* graph, unsigned long long flags) {
  if (graph == NULL || flags != 0) return fail(INVALID);
  *executable = (void*)&last_error;
  note("instantiate");
  return SUCCESS;
}
int cudaGraphDestroy(void* graph) { return graph == NULL ? fail(INVALID) : SUCCESS; }
int cudaGraphExecDestroy(void* executable) {
  note("graph freed");
  return executable == NULL ? fail(INVALID) : SUCCESS;
}
int cudaGraphLaunch(void* executable, void* stream) {
  note("graph launch %s", stream != NULL ? "own" : "default");
  return executable == NULL || capturing ? fail(INVALID) : SUCCESS;
}

int cudaEventCreate(void** event) { *event = malloc(1); return SUCCESS; }
int cudaEventDestroy(void* event) { free(event); return SUCCESS; }
int cudaEventRecord(void* event, void* stream) { (void)stream; return event == NULL ? fail(INVALID) : SUCCESS; }
int cudaEventQuery(void* event) { return event == NULL ? fail(INVALID) : SUCCESS; }
int cudaEventSynchronize(void* event) { return event == NULL ? fail(INVALID) : SUCCESS; }
int cudaEventElapsedTime(float* milliseconds, void* start, void* end) {
  (void)start, (void)end;
  *milliseconds = 0.5f;
  return SUCCESS;
}
