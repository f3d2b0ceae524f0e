// A value that is made in place once it can be, without a move: small calls notice the copies.
#pragma once

#include <new>
#include <utility>

namespace normdrop {

template <class T>
class Late {
 public:
  Late() {}
  ~Late() {
    if (made_) value_.~T();
  }
  Late(const Late&) = delete;
  Late& operator=(const Late&) = delete;

  // Once at most.
  template <class Make>
  const T& make(Make&& make) {
    new (&value_) T(std::forward<Make>(make)());
    made_ = true;
    return value_;
  }

  bool made() const { return made_; }
  const T& operator*() const { return value_; }
  const T* operator->() const { return &value_; }

 private:
  union {
    T value_;
  };
  bool made_ = false;
};

}  // namespace normdrop
