// Tensors at the edge of a kernel: typed pointers, new outputs, checks, and ATen's own linear.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <vector>

#include "vector.h"

namespace nacelle {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using Library = torch::stable::detail::StableLibrary;

template <class T>
struct DtypeOf;
template <>
struct DtypeOf<float> {
  static constexpr ScalarType value = ScalarType::Float;
};
template <>
struct DtypeOf<bf16> {
  static constexpr ScalarType value = ScalarType::BFloat16;
};
template <>
struct DtypeOf<int32_t> {
  static constexpr ScalarType value = ScalarType::Int;
};
template <>
struct DtypeOf<int64_t> {
  static constexpr ScalarType value = ScalarType::Long;
};

// A tensor that the caller owns, seen through the C interface.
struct View {
  AtenTensorHandle handle;

  int64_t size(int64_t dim) const {
    int64_t result;
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_size(handle, dim, &result));
    return result;
  }
  bool is(ScalarType type) const {
    int32_t dtype;
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_dtype(handle, &dtype));
    return dtype == code(type);
  }
  void expect_size(int64_t dim, int64_t wanted, const char* name) const {
    STD_TORCH_CHECK(size(dim) == wanted, name, " has size ", size(dim), " in dimension ", dim,
                    ", not ", wanted);
  }
  // The elements of a contiguous tensor of exactly this type.
  template <class T>
  T* data(const char* name) const {
    STD_TORCH_CHECK(is(DtypeOf<T>::value), name, " has another dtype");
    bool contiguous;
    TORCH_ERROR_CODE_CHECK(aoti_torch_is_contiguous(handle, &contiguous));
    STD_TORCH_CHECK(contiguous, name, " must be contiguous");
    void* pointer;
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_data_ptr(handle, &pointer));
    return static_cast<T*>(pointer);
  }
  // The same of an optional input: null when it is not given, else it must have `size` elements.
  template <class T>
  T* data_or_null(const char* name, int64_t size) const {
    if (handle == nullptr) return nullptr;
    expect_size(0, size, name);
    return data<T>(name);
  }
  static int32_t code(ScalarType type) {
    switch (type) {
      case ScalarType::Float:
        return aoti_torch_dtype_float32();
      case ScalarType::BFloat16:
        return aoti_torch_dtype_bfloat16();
      case ScalarType::Int:
        return aoti_torch_dtype_int32();
      default:
        return aoti_torch_dtype_int64();
    }
  }
};

// An optional tensor, as a compiled program and as an eager call gives it.
inline View view_of(const AtenTensorHandle* handle) { return {handle ? *handle : nullptr}; }
inline View view_of(const std::optional<Tensor>& tensor) {
  return {tensor.has_value() ? tensor->get() : nullptr};
}

// An uninitialised [rows, columns] on the CPU, without the dispatcher's cost.
inline Tensor empty(int64_t rows, int64_t columns, ScalarType dtype) {
  const int64_t sizes[] = {rows, columns}, strides[] = {columns, 1};
  AtenTensorHandle handle = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(
      2, sizes, strides, View::code(dtype), aoti_torch_device_type_cpu(), 0, &handle));
  return Tensor(handle);
}

// Hands a tensor over to the caller.
inline AtenTensorHandle release(const Tensor& tensor) {
  AtenTensorHandle handle = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_new_tensor_handle(tensor.get(), &handle));
  return handle;
}

// Runs a kernel for a C caller: an exception is printed and becomes an error code, which the
// compiled programs check and throw again.
template <class Kernel>
inline AOTITorchError guarded(const char* name, const Kernel& kernel) {
  try {
    kernel();
    return AOTI_TORCH_SUCCESS;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "nacelle::%s: %s\n", name, error.what());
    return AOTI_TORCH_FAILURE;
  }
}

// A float buffer of this thread that lives on between calls, and only grows; one for each number.
template <int NUMBER = 0>
inline float* scratch(int64_t count) {
  struct Buffer {
    float* data = nullptr;
    int64_t size = 0;
    ~Buffer() { std::free(data); }
  };
  static thread_local Buffer buffer;
  if (buffer.size < count) {
    std::free(buffer.data);
    buffer.size = (count + 1023) / 1024 * 1024;
    buffer.data = static_cast<float*>(std::aligned_alloc(64, buffer.size * sizeof(float)));
    STD_TORCH_CHECK(buffer.data != nullptr, "no memory for ", count, " floats");
  }
  return buffer.data;
}

}  // namespace nacelle
