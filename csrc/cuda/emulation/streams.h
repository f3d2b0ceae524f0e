// Streams: what is enqueued runs at once, or only when somebody waits for it.
#pragma once

#include <functional>
#include <mutex>
#include <string>

namespace normdrop::NORMDROP_DEVICE::emulation {

// When a stream does its work. What CUDA promises holds in each; what a program forgot to order
// shows in one of the last two.
enum class StreamOrder {
  immediate,  // when it is enqueued
  deferred,   // at a synchronisation: the other streams' work first, then that of the stream itself
  lazy,       // at a synchronisation, and nothing but what that stream needs
};

// Throws DeviceError for a text that is none of the three names.
StreamOrder parse_stream_order(const std::string& text);

// At first what the environment's NORMDROP_EMULATION_STREAMS says. Finishes what is enqueued.
void set_stream_order(StreamOrder order);

// Null is the default stream, which waits for no other and for which no other waits.
void enqueue(void* stream, std::function<void()> task);
void* new_stream();
void delete_stream(void* stream);
void wait_for(void* stream, void* other);
void synchronise(void* stream);

// Held by whoever uses the emulated device: its threads are those of one thread of the system.
std::unique_lock<std::recursive_mutex> device_lock();

}  // namespace normdrop::NORMDROP_DEVICE::emulation
