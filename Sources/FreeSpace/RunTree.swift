/// A balanced binary tree over the windows that knows the free runs of every subtree,
/// including runs that cross windows, whatever form the windows have.
///
/// It finds the longest run of the group at once, and the first run that is long enough,
/// or a run of a size class, in logarithmic time.
struct RunTree {
  /// What a stretch of sectors looks like from outside.
  struct Summary: Equatable {
    var length = 0
    /// Free sectors at the beginning and at the end; both are `length` if all are free.
    var lead = 0
    var trail = 0
    var longest = 0
    var runCount = 0
    /// Size classes of the runs inside the windows (`RunCensus.classes`).
    var classes: UInt32 = 0

    static func joined(_ left: Summary, _ right: Summary) -> Summary {
      Summary(
        length: left.length &+ right.length,
        lead: left.lead == left.length ? left.length &+ right.lead : left.lead,
        trail: right.trail == right.length ? right.length &+ left.trail : right.trail,
        longest: max(left.longest, right.longest, left.trail &+ right.lead),
        runCount: left.runCount &+ right.runCount
          &- (left.trail > 0 && right.lead > 0 ? 1 : 0),
        classes: left.classes | right.classes)
    }
  }

  private let nodes: UnsafeMutablePointer<Summary>
  private let leafBase: Int
  private let leafCount: Int

  init(leafCount: Int) {
    var base = 1
    while base < leafCount { base *= 2 }
    self.leafCount = leafCount
    leafBase = base
    nodes = .allocate(capacity: base * 2)
    nodes.initialize(repeating: Summary(), count: base * 2)
  }

  func deallocate() { nodes.deallocate() }

  var byteCount: Int { leafBase * 2 * MemoryLayout<Summary>.stride }

  var root: Summary { nodes[1] }

  func leaf(_ index: Int) -> Summary { nodes[leafBase + index] }

  /// Sets one leaf and all that depends on it.
  func update(_ index: Int, _ summary: Summary) {
    var node = leafBase + index
    nodes[node] = summary
    while node > 1 {
      node &>>= 1
      nodes[node] = .joined(nodes[node &* 2], nodes[node &* 2 &+ 1])
    }
  }

  /// Sets a leaf; `rebuild` must follow.
  func setLeaf(_ index: Int, _ summary: Summary) { nodes[leafBase + index] = summary }

  func rebuild() {
    var node = leafBase - 1
    while node > 0 {
      nodes[node] = .joined(nodes[node * 2], nodes[node * 2 + 1])
      node -= 1
    }
  }

  /// The first leaf from `first` on in which `length` free sectors in a row end or fit,
  /// and how many of them are before that leaf. `carried` is the number of free sectors
  /// directly before `first`.
  func firstLeaf(
    from first: Int, withRun length: Int, carried: Int
  ) -> (leaf: Int, carried: Int)? {
    guard first < leafCount else { return nil }
    var node = leafBase + first
    var carried = carried
    while true {
      while node & 1 == 0 { node &>>= 1 }
      if hasRun(length, node, carried) { return descend(from: node, length, carried) }
      carry(past: node, &carried)
      node &+= 1
      if node & (node &- 1) == 0 { return nil }
    }
  }

  private func descend(from top: Int, _ length: Int, _ carriedIn: Int) -> (Int, Int) {
    var node = top
    var carried = carriedIn
    while node < leafBase {
      node &*= 2
      if !hasRun(length, node, carried) {
        carry(past: node, &carried)
        node &+= 1
      }
    }
    return (node - leafBase, carried)
  }

  @inline(__always)
  private func hasRun(_ length: Int, _ node: Int, _ carried: Int) -> Bool {
    nodes[node].longest >= length || carried &+ nodes[node].lead >= length
  }

  @inline(__always)
  private func carry(past node: Int, _ carried: inout Int) {
    let summary = nodes[node]
    carried = summary.lead == summary.length ? carried &+ summary.length : summary.trail
  }

  /// The first leaf that has a run of the size class.
  func firstLeaf(withClass sizeClass: Int) -> Int? {
    let bit = UInt32(1) << UInt32(sizeClass)
    guard nodes[1].classes & bit != 0 else { return nil }
    var node = 1
    while node < leafBase {
      node &*= 2
      if nodes[node].classes & bit == 0 { node &+= 1 }
    }
    return node - leafBase
  }
}
