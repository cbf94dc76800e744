// WAV files of 16 bit mono: a list of chunks, each a name, a size, and as many bytes. For little-endian machines.
#pragma once

#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>

struct Recording {
  uint32_t hertz = 0;
  std::string samples;
};

inline Recording ReadWav(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(path + ": cannot be read");
  const std::string bytes((std::istreambuf_iterator<char>(file)), {});
  auto number = [&bytes](size_t at, size_t size) {
    uint32_t value = 0;
    std::memcpy(&value, bytes.data() + at, size);
    return value;
  };
  Recording recording;
  if (bytes.compare(0, 4, "RIFF") == 0) {
    for (size_t at = 12; at + 24 <= bytes.size(); at += 8 + size_t{number(at + 4, 4)}) {
      const bool plain = number(at + 8, 2) == 1 && number(at + 10, 2) == 1 && number(at + 22, 2) == 16;
      if (bytes.compare(at, 4, "fmt ") == 0 && plain) recording.hertz = number(at + 12, 4);
      if (bytes.compare(at, 4, "data") == 0 && recording.hertz > 0) {
        recording.samples = bytes.substr(at + 8, number(at + 4, 4));
        return recording;
      }
    }
  }
  throw std::runtime_error(path + " is not a WAV file of 16 bit mono");
}

inline void WriteWav(const std::string& path, const Recording& recording) {
  std::ofstream file(path, std::ios::binary);
  auto number = [&file](uint32_t value, int size) { file.write(reinterpret_cast<const char*>(&value), size); };
  const auto size = static_cast<uint32_t>(recording.samples.size());
  file << "RIFF";
  number(36 + size, 4);
  file << "WAVEfmt ";
  number(16, 4);  // of the format: PCM, mono, samples and bytes a second, bytes and bits of a sample
  number(1, 2);
  number(1, 2);
  number(recording.hertz, 4);
  number(2 * recording.hertz, 4);
  number(2, 2);
  number(16, 2);
  file << "data";
  number(size, 4);
  file << recording.samples;
  if (!file.flush()) throw std::runtime_error(path + ": cannot be written");
}
