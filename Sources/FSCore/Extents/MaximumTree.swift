/// Numbers by slot, and the largest of them in every range: a binary tree of maxima.
///
/// Each inner node is the larger one of its children. Setting a number, and finding the first one that
/// is large enough, take logarithmic time.
struct MaximumTree {
  /// The root is at 1, the slots begin at `capacity`, which is a power of two.
  private var nodes: [UInt64] = [0, 0]
  private var capacity = 1

  /// Makes room for one slot more than `slot`.
  mutating func grow(toHold slot: Int) {
    guard slot >= capacity else { return }
    var wider = capacity
    while wider <= slot { wider *= 2 }
    var grown = [UInt64](repeating: 0, count: 2 * wider)
    grown[wider..<wider + capacity] = nodes[capacity...]
    for node in stride(from: wider - 1, to: 0, by: -1) {
      grown[node] = max(grown[2 * node], grown[2 * node + 1])
    }
    nodes = grown
    capacity = wider
  }

  subscript(slot: Int) -> UInt64 {
    get { nodes[capacity + slot] }
    set {
      var node = capacity + slot
      nodes[node] = newValue
      while node > 1 {
        node /= 2
        let larger = max(nodes[2 * node], nodes[2 * node + 1])
        if nodes[node] == larger { return }
        nodes[node] = larger
      }
    }
  }

  var maximum: UInt64 { nodes[1] }

  /// The first slot from `first` on whose number is at least `minimum`, which is not 0.
  func firstSlot(from first: Int, atLeast minimum: UInt64) -> Int? {
    guard first < capacity else { return nil }
    var node = capacity + first
    // Up and to the right, until a subtree has one.
    while nodes[node] < minimum {
      while node & 1 == 1 { node /= 2 }
      if node == 0 { return nil }
      node += 1
    }
    while node < capacity {
      node *= 2
      if nodes[node] < minimum { node += 1 }
    }
    return node - capacity
  }
}
