// SPDX-License-Identifier: Apache-2.0
// What trainer/world/devices.py asks of CUDA's driver, for a machine without one.
//   FAKE_GPUS        a line a GPU: name;major;minor;bytes;bus id;first byte of its UUID
//   FAKE_CUINIT      what cuInit answers, in place of success
// CUDA_VISIBLE_DEVICES picks by number, as the real one does.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <string>
#include <vector>

namespace {
enum { SUCCESS = 0, INVALID_VALUE = 1, NOT_INITIALIZED = 3, NO_DEVICE = 100, INVALID_DEVICE = 101 };
struct Gpu {
  std::string name, bus;
  int major, minor, uuid;
  unsigned long long bytes;
};
bool ready = false;
std::vector<Gpu> gpus;

std::string variable(const char *name) {
  const char *value = std::getenv(name);
  return value ? value : "";
}

std::vector<std::string> split(const std::string &text, char separator) {
  std::vector<std::string> parts;
  std::stringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

std::vector<Gpu> visible(const std::vector<Gpu> &all) {
  if (!std::getenv("CUDA_VISIBLE_DEVICES")) return all;
  std::vector<Gpu> chosen;
  for (const std::string &word : split(variable("CUDA_VISIBLE_DEVICES"), ',')) {
    char *end;
    long number = std::strtol(word.c_str(), &end, 10);
    if (word.empty() || *end || number < 0 || number >= (long)all.size()) break;
    chosen.push_back(all[number]);
  }
  return chosen;
}

// Handles differ from numbers, so that one taken for the other shows.
int found(int handle, const Gpu **gpu) {
  if (!ready) return NOT_INITIALIZED;
  if (handle < 1000 || handle >= 1000 + (int)gpus.size()) return INVALID_DEVICE;
  *gpu = &gpus[handle - 1000];
  return SUCCESS;
}
}  // namespace

extern "C" {
int cuInit(unsigned) {
  if (!variable("FAKE_CUINIT").empty()) return std::atoi(variable("FAKE_CUINIT").c_str());
  std::vector<Gpu> all;
  for (const std::string &line : split(variable("FAKE_GPUS"), '\n')) {
    std::vector<std::string> f = split(line, ';');
    all.push_back({f[0], f[4], std::atoi(f[1].c_str()), std::atoi(f[2].c_str()),
                   std::atoi(f[5].c_str()), std::strtoull(f[3].c_str(), nullptr, 10)});
  }
  gpus = visible(all);
  ready = !gpus.empty();
  return ready ? SUCCESS : NO_DEVICE;
}

int cuDeviceGetCount(int *count) {
  *count = (int)gpus.size();
  return ready ? SUCCESS : NOT_INITIALIZED;
}

int cuDeviceGet(int *handle, int number) {
  *handle = 1000 + number;
  const Gpu *gpu;
  return found(*handle, &gpu);
}

int cuDeviceGetName(char *name, int length, int handle) {
  const Gpu *gpu;
  if (int code = found(handle, &gpu)) return code;
  std::snprintf(name, length, "%s", gpu->name.c_str());
  return SUCCESS;
}

int cuDeviceGetPCIBusId(char *bus, int length, int handle) {
  const Gpu *gpu;
  if (int code = found(handle, &gpu)) return code;
  std::snprintf(bus, length, "%s", gpu->bus.c_str());
  return SUCCESS;
}

int cuDeviceGetAttribute(int *value, int attribute, int handle) {
  const Gpu *gpu;
  if (int code = found(handle, &gpu)) return code;
  if (attribute != 75 && attribute != 76) return INVALID_VALUE;
  *value = attribute == 75 ? gpu->major : gpu->minor;
  return SUCCESS;
}

int cuDeviceTotalMem_v2(size_t *bytes, int handle) {
  const Gpu *gpu;
  if (int code = found(handle, &gpu)) return code;
  *bytes = gpu->bytes;
  return SUCCESS;
}

int cuDeviceGetUuid_v2(char *uuid, int handle) {
  const Gpu *gpu;
  if (int code = found(handle, &gpu)) return code;
  std::memset(uuid, 0, 16);
  uuid[0] = (char)gpu->uuid;
  return SUCCESS;
}

int cuGetErrorName(int code, const char **name) {
  *name = code == NO_DEVICE ? "CUDA_ERROR_NO_DEVICE" : code == 803 ? "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH" : nullptr;
  return *name ? SUCCESS : INVALID_VALUE;
}
}
