// What drafting for one tenant goes by, by name.
//
// A map of nodes, so that a part that is to be one tenant's can be made where lack of memory harms nothing, and be
// given to the engine's thread, which takes it in without allocating.
#pragma once
#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "speculate/plan.h"

namespace foretoken {

class HeadWeights;

/// Null = what all have who have none of their own.
struct Tenant {
  std::shared_ptr<const HeadWeights> head;
  std::unique_ptr<Beliefs> beliefs;
  std::array<int32_t, kPromiseBuckets> sinceAsked{};  ///< drafts of the others since the head was asked
  int64_t number = 0;                                 ///< in the prefix cache, given once; 0 = none yet

  /// Nothing of it is left but its number.
  void forget() { head = nullptr, beliefs = nullptr, sinceAsked = {}; }
};

using Tenants = std::map<std::string, Tenant>;

/// A place for something that is to be a tenant's, or (null) of all who have none of their own: then it is empty.
inline Tenants placeFor(const std::string* tenant) {
  Tenants place;
  if (tenant != nullptr) place.try_emplace(*tenant);
  return place;
}

/// The same for what drafts are worth where that tenant's text is decoded.
inline Tenants placeFor(const std::string* tenant, const Beliefs& beliefs) {
  Tenants place = placeFor(tenant);
  for (auto& [name, own] : place) own.beliefs = std::make_unique<Beliefs>(beliefs);
  return place;
}

/// The place among all tenants that is the one named by `place`, which holds one; it takes no memory.
inline Tenant& takeIn(Tenants& tenants, Tenants& place) {
  return tenants.insert(place.extract(place.begin())).position->second;
}

}  // namespace foretoken
