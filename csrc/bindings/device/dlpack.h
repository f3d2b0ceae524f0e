// The part of DLPack's binary interface that is spoken here. Facts from the specification, version
// 1.3 (dmlc.github.io/dlpack/latest): the layout of DLTensor and of its managed forms in "C API",
// stream numbers, capsule names and `__dlpack_c_exchange_api__` in "Python Specification".
#pragma once

#include <cstdint>

namespace normdrop::dlpack {

inline constexpr std::uint32_t major_version = 1;
inline constexpr std::uint32_t minor_version = 3;

inline constexpr std::uint64_t read_only_flag = 1;

inline constexpr const char* capsule_name = "dltensor";
inline constexpr const char* used_capsule_name = "used_dltensor";
inline constexpr const char* versioned_capsule_name = "dltensor_versioned";
inline constexpr const char* used_versioned_capsule_name = "used_dltensor_versioned";
inline constexpr const char* exchange_capsule_name = "dlpack_exchange_api";

enum DeviceType : std::int32_t { cpu = 1, cuda = 2, cuda_host = 3, cuda_managed = 13 };

enum TypeCode : std::uint8_t {
  signed_integer = 0,
  unsigned_integer = 1,
  floating = 2,
  opaque = 3,
  bfloat = 4,
  complex = 5,
  boolean = 6
};

// Streams as numbers: -1 asks for no synchronisation; 0 is not allowed, being ambiguous.
inline constexpr std::intptr_t no_synchronisation = -1;
inline constexpr std::intptr_t legacy_default_stream = 1;

struct Version {
  std::uint32_t major;
  std::uint32_t minor;
};

struct Device {
  std::int32_t type;
  std::int32_t id;
};

struct DataType {
  std::uint8_t code;
  std::uint8_t bits;
  std::uint16_t lanes;
};

struct Tensor {
  void* data;
  Device device;
  std::int32_t rank;
  DataType dtype;
  std::int64_t* shape;
  std::int64_t* strides;  // elements; null before version 1.2 where the array is in C order
  std::uint64_t byte_offset;
};

struct ManagedTensor {
  Tensor tensor;
  void* context;
  void (*deleter)(ManagedTensor*);  // may be null
};

// Everything up to `flags` keeps its place in any later version, so that the deleter can be called.
struct VersionedTensor {
  Version version;
  void* context;
  void (*deleter)(VersionedTensor*);  // may be null
  std::uint64_t flags;
  Tensor tensor;
};

struct ExchangeHeader {
  Version version;
  ExchangeHeader* previous;  // of an older major version, or null
};

// Functions return 0, or -1 with a Python exception set; none of them synchronises.
struct ExchangeApi {
  ExchangeHeader header;
  int (*allocate)(Tensor* prototype, VersionedTensor** out, void* error_context,
                  void (*set_error)(void* error_context, const char* kind, const char* message));
  int (*export_managed)(void* object, VersionedTensor** out);
  int (*import_managed)(VersionedTensor* tensor, void** out_object);
  int (*export_borrowed)(void* object, Tensor* out);  // may be null
  int (*current_stream)(std::int32_t device_type, std::int32_t device_id, void** out);
};

}  // namespace normdrop::dlpack
