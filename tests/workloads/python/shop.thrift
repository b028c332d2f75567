// What the programs of the tests that speak Thrift call: thrift_app.py and tests/fixtures/record_thrift.py.
struct Size {
  1: double width,
  2: bool fragile,
}

struct Item {
  1: i64 id,
  2: string name,
  3: map<string, Size> sizes,
  4: list<i32> parts,
  5: set<string> tags,
  6: bool sold,
  7: list<bool> days,
  8: byte level,
  9: i16 shelf,
}

exception Missing {
  1: i32 id,
  2: string why,
}

service Shop {
  void ping(),
  i32 count(1: list<Item> items),
  Item find(1: i64 id) throws (1: Missing missing),
  oneway void note(1: string text),
}

// Its server knows no such call.
service Other {
  string nonsense(1: i32 a),
}
