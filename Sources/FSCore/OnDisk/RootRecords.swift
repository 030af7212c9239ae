/// ROOT_ITEM, 439 bytes; the legacy form ends after `level`, at 239.
///
/// Read and written whole, so that fields which we do not use survive.
package struct RootItem: Sendable {
  package var bytes: [UInt8]

  package static let size = 439
  package static let legacySize = 239

  package init(_ span: RawSpan) throws(FilesystemError) {
    guard span.byteCount == Self.size || span.byteCount == Self.legacySize else {
      throw .corrupt("a root item of \(span.byteCount) bytes")
    }
    bytes = span.array(0, span.byteCount)
    bytes.append(contentsOf: repeatElement(0, count: Self.size - span.byteCount))
    if generationV2 != generation {
      // Written by one who did not know the fields from here on.
      for index in 0xef..<Self.size { bytes[index] = 0 }
    }
    guard level <= Format.maximumLevel, dropLevel <= Format.maximumLevel else {
      throw .corrupt("a root item with level \(level)")
    }
  }

  /// A new tree whose root block is at `address`.
  package init(address: LogicalAddress, level: UInt8, generation: Generation, nodeSize: UInt64) {
    bytes = [UInt8](repeating: 0, count: Self.size)
    // The embedded inode is vestigial, and as everybody writes it.
    self[u64: 0] = 1
    self[u64: 0x10] = 3
    self[u64: 0x18] = nodeSize
    self[u32: 0x28] = 1
    self[u32: 0x34] = 0o040755
    self.generation = generation
    self.address = address
    self.level = level
    bytesUsed = nodeSize
    references = 1
  }

  package func encode(into buffer: UnsafeMutableRawBufferPointer) { buffer.store(bytes, at: 0) }

  subscript(u64 offset: Int) -> UInt64 {
    get { bytes.withUnsafeBytes { $0.u64(offset) } }
    set { bytes.withUnsafeMutableBytes { $0.store(newValue, at: offset) } }
  }

  subscript(u32 offset: Int) -> UInt32 {
    get { bytes.withUnsafeBytes { $0.u32(offset) } }
    set { bytes.withUnsafeMutableBytes { $0.store(newValue, at: offset) } }
  }

  subscript(uuid offset: Int) -> UUIDBytes {
    get { UUIDBytes(rawValue: bytes.withUnsafeBytes { $0.littleEndian(offset) }) }
    set { bytes.withUnsafeMutableBytes { $0.store(newValue, at: offset) } }
  }

  /// Setting it sets `generation_v2` too: without that the uuids and times would be lost.
  package var generation: Generation {
    get { Generation(rawValue: self[u64: 0xa0]) }
    set {
      self[u64: 0xa0] = newValue.rawValue
      self[u64: 0xef] = newValue.rawValue
    }
  }

  var generationV2: Generation { Generation(rawValue: self[u64: 0xef]) }

  package var rootDirectory: ObjectID {
    get { ObjectID(rawValue: self[u64: 0xa8]) }
    set { self[u64: 0xa8] = newValue.rawValue }
  }

  package var address: LogicalAddress {
    get { LogicalAddress(rawValue: self[u64: 0xb0]) }
    set { self[u64: 0xb0] = newValue.rawValue }
  }

  package var bytesUsed: UInt64 {
    get { self[u64: 0xc0] }
    set { self[u64: 0xc0] = newValue }
  }

  package var lastSnapshot: Generation {
    get { Generation(rawValue: self[u64: 0xc8]) }
    set { self[u64: 0xc8] = newValue.rawValue }
  }

  /// Bit 0: a read-only subvolume; bit 48: being deleted.
  package var flags: UInt64 {
    get { self[u64: 0xd0] }
    set { self[u64: 0xd0] = newValue }
  }

  package var isReadOnly: Bool {
    get { flags & 1 != 0 }
    set { flags = newValue ? flags | 1 : flags & ~1 }
  }

  /// Being deleted.
  package var isDead: Bool {
    get { flags & 1 << 48 != 0 }
    set { flags = newValue ? flags | 1 << 48 : flags & ~(1 << 48) }
  }

  package var references: UInt32 {
    get { self[u32: 0xd8] }
    set { self[u32: 0xd8] = newValue }
  }

  /// How far a deletion has come: what stands before this key at level `dropLevel` is gone. All
  /// zero before it begins.
  package var dropProgress: Key {
    get {
      bytes.withUnsafeBytes {
        Key(ObjectID(rawValue: $0.u64(0xdc)), ItemType($0[0xe4]), $0.u64(0xe5))
      }
    }
    set { bytes.withUnsafeMutableBytes { newValue.encode(into: $0, at: 0xdc) } }
  }

  package var dropLevel: UInt8 {
    get { bytes[0xed] }
    set { bytes[0xed] = newValue }
  }

  package var level: UInt8 {
    get { bytes[0xee] }
    set { bytes[0xee] = newValue }
  }

  package var uuid: UUIDBytes {
    get { self[uuid: 0xf7] }
    set { self[uuid: 0xf7] = newValue }
  }

  package var parentUUID: UUIDBytes {
    get { self[uuid: 0x107] }
    set { self[uuid: 0x107] = newValue }
  }

  package var receivedUUID: UUIDBytes {
    get { self[uuid: 0x117] }
    set { self[uuid: 0x117] = newValue }
  }

  /// Of a received subvolume: the sender's transaction and its time, and our own.
  package var sendTransaction: UInt64 { self[u64: 0x137] }
  package var receiveTransaction: UInt64 { self[u64: 0x13f] }
  package var sendTime: Timestamp { time(0x15f) }
  package var receiveTime: Timestamp { time(0x16b) }

  private func time(_ offset: Int) -> Timestamp {
    Timestamp(seconds: Int64(bitPattern: self[u64: offset]), nanoseconds: self[u32: offset + 8])
  }

  /// Forgets that it was received.
  package mutating func clearReceived() {
    receivedUUID = .zero
    self[u64: 0x137] = 0
    self[u64: 0x13f] = 0
    for index in 0x15f..<0x177 { bytes[index] = 0 }
  }

  /// Forgets that it was received, on request: as Linux, which takes that for one more receipt, of nothing.
  package mutating func disownReceived(in transaction: Generation, at now: Timestamp) {
    clearReceived()
    self[u64: 0x13f] = transaction.rawValue
    self[u64: 0x16b] = UInt64(bitPattern: now.seconds)
    self[u32: 0x173] = now.nanoseconds
  }

  /// Marks the flags as meant: without that Linux takes a subvolume for one that can be written.
  package mutating func markFlagsAsValid() { self[u64: 0x40] |= 1 << 31 }

  package var lastChange: Generation {
    get { Generation(rawValue: self[u64: 0x127]) }
    set { self[u64: 0x127] = newValue.rawValue }
  }

  package var creationTransaction: Generation {
    get { Generation(rawValue: self[u64: 0x12f]) }
    set { self[u64: 0x12f] = newValue.rawValue }
  }

  package var changeTime: Timestamp {
    get { Timestamp(seconds: Int64(bitPattern: self[u64: 0x147]), nanoseconds: self[u32: 0x14f]) }
    set {
      self[u64: 0x147] = UInt64(bitPattern: newValue.seconds)
      self[u32: 0x14f] = newValue.nanoseconds
    }
  }

  package var creationTime: Timestamp {
    get { Timestamp(seconds: Int64(bitPattern: self[u64: 0x153]), nanoseconds: self[u32: 0x15b]) }
    set {
      self[u64: 0x153] = UInt64(bitPattern: newValue.seconds)
      self[u32: 0x15b] = newValue.nanoseconds
    }
  }
}

/// ROOT_REF and ROOT_BACKREF: 18 bytes, then the name.
package struct RootReference: Sendable {
  package var directory: ObjectID
  package var index: UInt64
  package var name: [UInt8]

  package init(_ bytes: RawSpan) throws(FilesystemError) {
    guard bytes.byteCount >= 18, bytes.byteCount == 18 + Int(bytes.u16(0x10)) else {
      throw .corrupt("a root reference of \(bytes.byteCount) bytes")
    }
    directory = ObjectID(rawValue: bytes.u64(0))
    index = bytes.u64(8)
    name = bytes.array(18, bytes.byteCount - 18)
  }
}
