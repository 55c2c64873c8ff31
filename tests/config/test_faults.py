"""One broken site per kind of fault: where it is reported and what it tells the engineer to do."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.config.load import ConfigError, load

APPLIANCE = "appliance.toml"
LINE = "lines/a/line.toml"
TAGS = "lines/a/tags.toml"
OUTPUTS = "lines/a/outputs.toml"
COMPONENTS = "lines/a/components.toml"
TRIM = "lines/a/trim.toml"
SCHEDULE = "schedules/short.csv"

Case = tuple[list[tuple[str, str, str]], list[str]]
"""(edits as (file, text, replacement), the whole report)."""

KEYS: dict[str, Case] = {
    "misspelt key": (
        [(TAGS, "address = 4,", "adress = 4,")],
        ["lines/a/tags.toml:4: tag \"SIC-103.PV\": unknown key 'adress'; did you mean 'address'?"],
    ),
    "unknown key": (
        [(LINE, "rows = 7200", "rows = 7200\nzebra = 1")],
        ["lines/a/line.toml:7: [ring]: unknown key 'zebra'; permitted: row_s, rows"],
    ),
    "something else to write": (
        [(OUTPUTS, "plc_timeout_s = 5.0", "plc_timeout_s = 5.0\nsetpoint = 1")],
        ["lines/a/outputs.toml:2: unknown key 'setpoint'; permitted: plc_timeout_s, block_w, "
         "block_r"],
    ),
    "misspelt key two levels down": (
        [(LINE, "last = 9099 }", "lst = 9099 }")],
        ["lines/a/line.toml:19: forbidden range row 1: unknown key 'lst'; did you mean 'last'?"],
    ),
    "key of another table": (
        [(LINE, "rows = 7200", 'rows = 7200\nbundle = "x"')],
        ["lines/a/line.toml:7: [ring]: 'bundle' does not belong here; move it below [model]"],
    ),
    "key of the file below a table": (
        [(LINE, 'schedule = "schedules/short.csv"\n', ""),
         (LINE, "rows = 7200", 'rows = 7200\nschedule = "schedules/short.csv"')],
        ["lines/a/line.toml:6: [ring]: 'schedule' does not belong here; move it to the top of "
         "the file, above the first [table]"],
    ),
    "table below another": (
        [(LINE, "[ring]\nrow_s = 1.0\nrows = 7200\n", "[model.ring]\n")],
        ["lines/a/line.toml:1: missing key 'ring' (table); add it",
         "lines/a/line.toml:4: [model]: 'ring' does not belong here; move it to a [ring] of its "
         "own"],
    ),
    "misspelt list of tables": (
        [(LINE,
          '[[link]]\nname = "dcs"\nprotocol = "opc-ua"',
          '[link2]\nname = "dcs"\nprotocol = "opc-ua"')],
        ["lines/a/line.toml:22: unknown key 'link2'; did you mean 'link'?",
         "lines/a/tags.toml:9: tag \"TIC-106.PV\": link 'dcs' is not in line.toml; permitted: "
         "plc",
         "lines/a/tags.toml:10: tag \"AIT-106A.PV\": link 'dcs' is not in line.toml; permitted: "
         "plc",
         "lines/a/tags.toml:11: tag \"AIT-106B.PV\": link 'dcs' is not in line.toml; permitted: "
         "plc"],
    ),
    "missing key": (
        [(TRIM, "ttl_s = 900\n", "")],
        ["lines/a/trim.toml:1: [limits]: missing key 'ttl_s' (120..900 s); add it"],
    ),
    "missing key of a row": (
        [(TAGS,
          'part = "pump", link = "plc", table = "input", address = 4',
          'link = "plc", table = "input", address = 4')],
        ["lines/a/tags.toml:4: tag \"SIC-103.PV\": missing key 'part' (text, e.g. pipe); add it"],
    ),
    "missing address": (
        [(TAGS, "address = 4, ", "")],
        ["lines/a/tags.toml:4: tag \"SIC-103.PV\": missing key 'address' (0..65535); add it"],
    ),
    "missing table": (
        [(OUTPUTS, '[block_w]\nlink = "plc"\naddress = 1000\n', "")],
        ["lines/a/outputs.toml:1: missing key 'block_w' (table); add it"],
    ),
    "row without a name": (
        [(TAGS, 'name = "SIC-103.PV", ', "")],
        ["lines/a/tags.toml:4: tag row 3: missing key 'name' (text, e.g. PI-103.PV); add it"],
    ),
}  # fmt: skip

TYPES: dict[str, Case] = {
    "text for a whole number": (
        [(TAGS, "address = 4,", 'address = "4",')],
        ['lines/a/tags.toml:4: tag "SIC-103.PV": address = "4" is text; it must be a whole '
         "number (0..65535)"],
    ),
    "flag for a whole number": (
        [(TAGS, "address = 4,", "address = true,")],
        ['lines/a/tags.toml:4: tag "SIC-103.PV": address = true is a true/false value; it must '
         "be a whole number (0..65535)"],
    ),
    "number for text": (
        [(LINE, 'title = "Line A"', "title = 5")],
        ["lines/a/line.toml:1: title = 5 is a whole number; it must be text"],
    ),
    "fraction for a whole number": (
        [(TRIM, "ttl_s = 900", "ttl_s = 900.5")],
        ["lines/a/trim.toml:5: [limits]: ttl_s = 900.5 is a number; it must be a whole number "
         "(120..900 s)"],
    ),
    "text for a flag": (
        [(COMPONENTS, "reportable = false", 'reportable = "no"')],
        ['lines/a/components.toml:5: component "C12": reportable = "no" is text; it must be '
         "true or false"],
    ),
    "date for text": (
        [(LINE, 'title = "Line A"', "title = 2024-01-01")],
        ["lines/a/line.toml:1: title = 2024-01-01 is a date or time; it must be text"],
    ),
    "text for pairs": (
        [(COMPONENTS, 'edges = [["C03", "C11"], ["C11", "C09"]]', 'edges = "C03"')],
        ['lines/a/components.toml:7: edges = "C03" is text; it must be a list of [from, to] '
         "pairs"],
    ),
    "number for a row": (
        [(LINE,
          'forbidden = [\n  { table = "holding", first = 9000, last = 9099 },\n]',
          "forbidden = [1]")],
        ['lines/a/line.toml:18: link "plc": forbidden = [1] is a list; it must be a list of '
         "tables"],
    ),
    "number in a list of texts": (
        [(TRIM, '["AIT-106A.PV", "AIT-106B.PV"]', '["AIT-106A.PV", 5]')],
        ["lines/a/trim.toml:21: [tags]: ph_tags: entry 5 is a whole number; every entry must be "
         "a text"],
    ),
    "one-sided edge": (
        [(COMPONENTS, '["C11", "C09"]', '["C11"]')],
        ['lines/a/components.toml:7: edges: entry ["C11"] is not a pair; write ["from", "to"]'],
    ),
    "number for a directory": (
        [(APPLIANCE, 'name = "box"', 'name = "box"\nruntime_dir = 7')],
        ["appliance.toml:2: runtime_dir = 7 is a whole number; it must be text"],
    ),
}  # fmt: skip

VALUES: dict[str, Case] = {
    "time to live too short": (
        [(TRIM, "ttl_s = 900", "ttl_s = 60")],
        ["lines/a/trim.toml:5: [limits]: ttl_s = 60 is not permitted; permitted: 120..900 s"],
    ),
    "authority above the ceiling": (
        [(TRIM, "authority_fraction = 0.10", "authority_fraction = 0.2")],
        ["lines/a/trim.toml:2: [limits]: authority_fraction = 0.2 is not permitted; permitted: "
         "above 0 up to 0.15; the suggestion may move at most 15 % away from the feed-forward "
         "flow"],
    ),
    "authority of nothing": (
        [(TRIM, "authority_fraction = 0.10", "authority_fraction = 0")],
        ["lines/a/trim.toml:2: [limits]: authority_fraction = 0 is not permitted; permitted: "
         "above 0 up to 0.15; the suggestion may move at most 15 % away from the feed-forward "
         "flow"],
    ),
    "not a number": (
        [(TRIM, "ph_low = 10.95", "ph_low = nan")],
        ["lines/a/trim.toml:7: [limits]: ph_low = nan is not a finite 64-bit number; "
         "permitted: 7..14 pH"],
    ),
    "infinite range": (
        [(TAGS, "high = 450", "high = inf")],
        ['lines/a/tags.toml:4: tag "SIC-103.PV": high = inf is not a finite 64-bit number; '
         "permitted: number"],
    ),
    "port": (
        [(LINE, 'host = "10.0.0.5"', 'host = "10.0.0.5"\nport = 0')],
        ['lines/a/line.toml:18: link "plc": port = 0 is not permitted; permitted: 1..65535'],
    ),
    "URL for a host": (
        [(LINE, 'host = "10.0.0.5"', 'host = "tcp://10.0.0.5"')],
        ['lines/a/line.toml:17: link "plc": host = "tcp://10.0.0.5" is not permitted; '
         'permitted: text such as "192.168.10.20"; give the host name or IP address alone'],
    ),
    "wrong kind of URL": (
        [(LINE, 'url = "opc.tcp://10.0.0.6:4840"', 'url = "http://10.0.0.6"')],
        ['lines/a/line.toml:25: link "dcs": url = "http://10.0.0.6" is not permitted; '
         'permitted: text such as "opc.tcp://192.168.10.30:4840/plant"; begin with opc.tcp://'],
    ),
    "namespace index in a node": (
        [(TAGS, 'node = "s=A106"', 'node = "ns=2;s=A106"')],
        ['lines/a/tags.toml:10: tag "AIT-106A.PV": node = "ns=2;s=A106" is not permitted; '
         'permitted: text such as "s=R106.TIC-106.PV"; leave the namespace out: it is the '
         "link's 'namespace'"],
    ),
    "1-based address": (
        [(TAGS, "address = 4,", "address = 400005,")],
        ['lines/a/tags.toml:4: tag "SIC-103.PV": address = 400005 is not permitted; permitted: '
         "0..65535; addresses are 0-based, as on the wire: register 40001 or 30001 of a manual "
         "is address 0"],
    ),
    "misspelt type": (
        [(TAGS, 'address = 4, type = "uint16"', 'address = 4, type = "uint-16"')],
        ['lines/a/tags.toml:4: tag "SIC-103.PV": type = "uint-16" is not permitted; permitted: '
         "int16, uint16, int32, uint32, float32, int64, uint64, float64, bit, bcd16, bcd32, "
         'string; did you mean "uint16"?'],
    ),
    "misspelt protocol": (
        [(LINE, 'protocol = "opc-ua"', 'protocol = "opcua"')],
        ['lines/a/line.toml:24: link "dcs": protocol = "opcua" is not permitted; permitted: '
         'modbus-tcp, modbus-rtu-over-tcp, modbus-rtu, modbus-tls, opc-ua; did you mean '
         '"opc-ua"?'],
    ),
    "unknown provider": (
        [(APPLIANCE, 'name = "box"', 'name = "box"\nprovider = "gpu"')],
        ['appliance.toml:2: provider = "gpu" is not permitted; permitted: auto, cpu, cuda; did '
         'you mean "cpu"?'],
    ),
    "relative directory": (
        [(APPLIANCE, 'name = "box"', 'name = "box"\nstate_dir = "state"')],
        ['appliance.toml:2: state_dir = "state" is not permitted; permitted: text such as '
         '"/var/lib/ncm-edge"; give an absolute path'],
    ),
    "blank in a name": (
        [(APPLIANCE, 'name = "box"', 'name = "my box"')],
        ['appliance.toml:1: name = "my box" is not permitted; permitted: text such as "edge-1"; '
         "use letters, digits, '-' and '_' only"],
    ),
    "blank in a tag name": (
        [(TAGS, 'name = "SIC-103.PV"', 'name = "SIC 103"')],
        ['lines/a/tags.toml:4: tag "SIC 103": name = "SIC 103" is not permitted; permitted: '
         "text such as \"PI-103.PV\"; use the plant's tag name without blanks, at most 64 "
         "characters"],
    ),
    "schedule not csv": (
        [(LINE, "schedules/short.csv", "schedules/short.txt")],
        ['lines/a/line.toml:2: schedule = "schedules/short.txt" is not permitted; permitted: '
         'text such as "schedules/ncm838.csv"; name a .csv file'],
    ),
    "scale 0": (
        [(TAGS,
          'address = 4, type = "uint16", scale = 0.1',
          'address = 4, type = "uint16", scale = 0')],
        ['lines/a/tags.toml:4: tag "SIC-103.PV": scale = 0 makes every value the same; '
         "permitted: not 0"],
    ),
    "scale that cannot reach the range": (
        [(TAGS,
          'address = 4, type = "uint16", scale = 0.1',
          'address = 4, type = "uint16", scale = 0.001')],
        ['lines/a/tags.toml:4: tag "SIC-103.PV": high = 450 cannot be reached by uint16 x '
         "0.001; permitted: 0..65.535; correct the type, the scale or the range"],
    ),
    "invalid code too wide": (
        [(TAGS,
          'address = 4, type = "uint16", scale = 0.1',
          'address = 4, type = "uint16", scale = 0.1, invalid = [65536]')],
        ['lines/a/tags.toml:4: tag "SIC-103.PV": invalid: code 65536 does not fit type uint16; '
         "permitted: 0..65535"],
    ),
    "negative invalid code": (
        [(TAGS,
          'address = 4, type = "uint16", scale = 0.1',
          'address = 4, type = "uint16", scale = 0.1, invalid = [-1, 3]')],
        ['lines/a/tags.toml:4: tag "SIC-103.PV": invalid: entry -1 is not permitted; permitted: '
         "0..9223372036854775807"],
    ),
    "registers in a coil table": (
        [(TAGS, 'type = "bit"', 'type = "float32"')],
        ['lines/a/tags.toml:8: tag "XS-103.ON": type = "float32" needs registers, but table '
         '"coil" holds single bits; permitted: type = "bit"'],
    ),
    "bit of a coil": (
        [(TAGS, 'type = "bit"', 'type = "bit", bit = 3')],
        ['lines/a/tags.toml:8: tag "XS-103.ON": bit = 3 has no meaning in table "coil", where '
         "every address is one bit; remove it"],
    ),
    "bit of a whole register": (
        [(TAGS,
          'address = 4, type = "uint16", scale = 0.1',
          'address = 4, type = "uint16", scale = 0.1, bit = 3')],
        ['lines/a/tags.toml:4: tag "SIC-103.PV": bit = 3 has no meaning for type = "uint16"; '
         'remove it or set type = "bit"'],
    ),
    "ring shorter than a batch": (
        [(LINE, "rows = 7200", "rows = 7000")],
        ["lines/a/line.toml:6: [ring]: rows = 7000 holds 116.667 min but the schedule lasts 120 "
         "min; permitted: at least 7200"],
    ),
    "timeout longer than a row": (
        [(LINE, 'namespace = "urn:plant"', 'namespace = "urn:plant"\ntimeout_ms = 1000')],
        ['lines/a/line.toml:27: link "dcs": timeout_ms = 1000 is not shorter than a row ([ring] '
         "row_s = 1 s); permitted: below 1000 ms"],
    ),
    "block longer than a request": (
        [(LINE, 'host = "10.0.0.5"', 'host = "10.0.0.5"\nmax_registers = 32')],
        ['lines/a/outputs.toml:4: [block_w]: link "plc" reads at most 32 registers at once '
         "(max_registers), but the block is 64 words and must be read in one request; raise "
         "max_registers or use another link"],
    ),
}  # fmt: skip

DUPLICATES: dict[str, Case] = {
    "tag twice": (
        [(TAGS, 'name = "FIC-102.PV"', 'name = "FIC-103.PV"')],
        ['lines/a/tags.toml:6: tag row 5: name = "FIC-103.PV" is already used in line 2; give '
         "every tag its own name",
         "lines/a/trim.toml:26: [tags]: shell_flow: tag 'FIC-102.PV' is not in tags.toml; did "
         "you mean 'FIC-104.PV'?"],
    ),
    "context named like a tag": (
        [(TAGS, 'name = "FIC-103.SP"', 'name = "FIC-103.PV"')],
        ['lines/a/tags.toml:14: context row 1: name = "FIC-103.PV" is already used in line 2; '
         "give every tag its own name",
         "lines/a/trim.toml:23: [tags]: naoh_flow_sp: tag 'FIC-103.SP' is not in tags.toml; did "
         "you mean 'FIC-103.PV'?"],
    ),
    "link twice": (
        [(LINE, 'name = "dcs"', 'name = "plc"')],
        ['lines/a/line.toml:23: link row 2: name = "plc" is already used in line 15; give every '
         "link its own name",
         "lines/a/tags.toml:9: tag \"TIC-106.PV\": link 'dcs' is not in line.toml; permitted: "
         "plc",
         "lines/a/tags.toml:10: tag \"AIT-106A.PV\": link 'dcs' is not in line.toml; permitted: "
         "plc",
         "lines/a/tags.toml:11: tag \"AIT-106B.PV\": link 'dcs' is not in line.toml; permitted: "
         "plc"],
    ),
    "line twice": (
        [(APPLIANCE, '["a"]', '["a", "a"]')],
        ['appliance.toml:2: lines: "a" stands twice; remove one'],
    ),
    "component code twice": (
        [(COMPONENTS, 'code = "C12"', 'code = "C11"')],
        ['lines/a/components.toml:5: component row 4: code = "C11" is already used in line 4; '
         "give every component its own code"],
    ),
    "component number twice": (
        [(COMPONENTS, "number = 12", "number = 11")],
        ["lines/a/components.toml:5: component row 4: number = 11 is already used in line 4; "
         "give every component its own number"],
    ),
    "edge twice": (
        [(COMPONENTS, '["C11", "C09"]', '["C03", "C11"]')],
        ['lines/a/components.toml:7: edges: ["C03", "C11"] stands twice; remove one'],
    ),
    "entry twice": (
        [(TRIM,
          '["AIT-106A.PV", "AIT-106B.PV"]',
          '["AIT-106A.PV", "AIT-106B.PV", "AIT-106A.PV"]')],
        ['lines/a/trim.toml:21: [tags]: ph_tags: "AIT-106A.PV" stands twice; remove one'],
    ),
    "two links to one device": (
        [(LINE,
          'url = "opc.tcp://10.0.0.6:4840"\nnamespace = "urn:plant"',
          'url = "opc.tcp://10.0.0.6:4840"\nnamespace = '
          '"urn:plant"\n[[link]]\nname="p2"\nprotocol="modbus-tcp"\nhost="10.0.0.5"')],
        ['lines/a/line.toml:27: link "p2": reaches the same device as link "plc"; use one link, '
         "with unit_id per tag where needed"],
    ),
}  # fmt: skip

REFERENCES: dict[str, Case] = {
    "unknown line": (
        [(APPLIANCE, '["a"]', '["a", "c"]')],
        ["appliance.toml:2: line 'c' has no folder lines/c; permitted: a, b"],
    ),
    "unknown link": (
        [(TAGS,
          'part = "instrument", link = "dcs", node = "s=A106"',
          'part = "instrument", link = "dsc", node = "s=A106"')],
        ["lines/a/tags.toml:10: tag \"AIT-106A.PV\": link 'dsc' is not in line.toml; did you "
         "mean 'dcs'?"],
    ),
    "unknown link of a block": (
        [(OUTPUTS, '[block_w]\nlink = "plc"', '[block_w]\nlink = "pcl"')],
        ["lines/a/outputs.toml:4: [block_w]: link 'pcl' is not in line.toml; did you mean 'plc'?"],
    ),
    "unknown component": (
        [(TAGS,
          'component = "C03", part = "pump", link = "plc", table = "input"',
          'component = "C3", part = "pump", link = "plc", table = "input"')],
        ["lines/a/tags.toml:4: tag \"SIC-103.PV\": component 'C3' is not in components.toml; "
         "did you mean 'C03'?"],
    ),
    "unknown part": (
        [(TAGS,
          'component = "C03", part = "pump", link = "plc", table = "input"',
          'component = "C03", part = "pumpe", link = "plc", table = "input"')],
        ["lines/a/tags.toml:4: tag \"SIC-103.PV\": part 'pumpe' is not a part of component C03; "
         "did you mean 'pump'?"],
    ),
    "part without component": (
        [(TAGS, "high = 400, link", 'high = 400, part = "pump", link')],
        ["lines/a/tags.toml:14: context \"FIC-103.SP\": part 'pump' without a component; add "
         "'component'"],
    ),
    "edge to nowhere": (
        [(COMPONENTS, '["C11", "C09"]', '["C11", "C99"]')],
        ["lines/a/components.toml:7: edge C11 to C99: component 'C99' is not defined; did you "
         "mean 'C09'?"],
    ),
    "edge to itself": (
        [(COMPONENTS, '["C11", "C09"]', '["C11", "C11"]')],
        ["lines/a/components.toml:7: edge C11 to C11: joins a component to itself; remove it"],
    ),
    "unknown tag in a role": (
        [(TRIM, 'naoh_flow = "FIC-103.PV"', 'naoh_flow = "FIC-103.VP"')],
        ["lines/a/trim.toml:22: [tags]: naoh_flow: tag 'FIC-103.VP' is not in tags.toml; did "
         "you mean 'FIC-103.SP'?"],
    ),
    "unit of a role": (
        [(TRIM, 'naoh_weight = "WI-103.PV"', 'naoh_weight = "SIC-103.PV"')],
        ["lines/a/trim.toml:24: [tags]: naoh_weight: tag 'SIC-103.PV' is in rpm; permitted: a "
         "tag in kg"],
    ),
    "tag in two roles": (
        [(TRIM, 'shell_flow = "FIC-102.PV"', 'shell_flow = "FIC-101.PV"')],
        ["lines/a/trim.toml:26: [tags]: shell_flow: tag 'FIC-101.PV' already serves as "
         "core_flow; every role needs its own tag"],
    ),
    "unknown component in a role": (
        [(TRIM, '["C03", "C09"]', '["C03", "C09", "C13"]')],
        ["lines/a/trim.toml:29: [tags]: hold_components: component 'C13' is not in "
         "components.toml; did you mean 'C12'?"],
    ),
    "schedule missing": (
        [(LINE, "schedules/short.csv", "schedules/shrt.csv")],
        ["lines/a/line.toml:2: schedule 'schedules/shrt.csv' cannot be read (No such file or "
         "directory); the path is relative to the configuration directory"],
    ),
}  # fmt: skip

ADDRESSES: dict[str, Case] = {
    "two tags on one register": (
        [(TAGS, "address = 102", "address = 101")],
        ['lines/a/tags.toml:6: tag "FIC-102.PV": holding 101..102 is already used by tag '
         '"FIC-101.PV" (lines/a/tags.toml:5, holding 100..101); correct the address of one of '
         "them"],
    ),
    "two tags on one node": (
        [(TAGS, "s=B106", "s=A106")],
        ['lines/a/tags.toml:11: tag "AIT-106B.PV": node s=A106 is already used by tag '
         '"AIT-106A.PV" (lines/a/tags.toml:10); correct the address of one of them'],
    ),
    "tag inside block W": (
        [(TAGS, "address = 102", "address = 1063")],
        ['lines/a/tags.toml:6: tag "FIC-102.PV": holding 1063..1064 is already used by block W '
         "(lines/a/outputs.toml:3, holding 1000..1063); block W belongs to the appliance alone; "
         "move the tag"],
    ),
    "tag inside block R": (
        [(TAGS, "address = 102", "address = 1100")],
        ['lines/a/tags.toml:6: tag "FIC-102.PV": holding 1100..1101 is already used by block R '
         "(lines/a/outputs.toml:7, holding 1100..1115); block R is read by the appliance "
         "itself; move the tag"],
    ),
    "block R on block W": (
        [(OUTPUTS, "address = 1100", "address = 1063")],
        ["lines/a/outputs.toml:9: block R: holding 1063..1078 is already used by block W "
         "(lines/a/outputs.toml:3, holding 1000..1063); move one of the blocks: one writer a "
         "block"],
    ),
    "block W beyond the table": (
        [(OUTPUTS, "address = 1000", "address = 65500")],
        ["lines/a/outputs.toml:5: block W: address = 65500 with 64 registers ends at 65563; "
         "permitted: 0..65472"],
    ),
    "tag beyond the table": (
        [(TAGS, "address = 102", "address = 65535")],
        ['lines/a/tags.toml:6: tag "FIC-102.PV": address = 65535 with 2 registers ends at '
         "65536; permitted: 0..65534"],
    ),
    "tag in a forbidden range": (
        [(TAGS, "address = 102", "address = 9099")],
        ['lines/a/tags.toml:6: tag "FIC-102.PV": holding 9099..9100 lies in the forbidden range '
         "9000..9099 (lines/a/line.toml:19); move one of them"],
    ),
    "block W in a forbidden range": (
        [(OUTPUTS, "address = 1000", "address = 8990")],
        ["lines/a/outputs.toml:5: block W: holding 8990..9053 lies in the forbidden range "
         "9000..9099 (lines/a/line.toml:19); move one of them"],
    ),
    "forbidden range upside down": (
        [(LINE, "first = 9000", "first = 9100")],
        ['lines/a/line.toml:19: link "plc", forbidden range 1: first = 9100 is above last = '
         "9099; exchange them"],
    ),
    "length of block W": (
        [(OUTPUTS, "address = 1000", "address = 1000\ncount = 32")],
        ["lines/a/outputs.toml:6: [block_w]: count = 32 is not permitted; permitted: 64 words "
         "only; the length is part of the contract with the PLC"],
    ),
    "length of block R": (
        [(OUTPUTS, "address = 1100", "address = 1100\ncount = 32")],
        ["lines/a/outputs.toml:10: [block_r]: count = 32 is not permitted; permitted: 16 words "
         "only; the length is part of the contract with the PLC"],
    ),
    "block W in a table nobody can write": (
        [(OUTPUTS, "address = 1000", 'address = 1000\ntable = "input"')],
        ['lines/a/outputs.toml:6: [block_w]: table = "input" is not permitted; permitted: '
         "holding; only holding registers can be written and read back"],
    ),
    "two lines with one block W": (
        [(APPLIANCE, '["a"]', '["a", "b"]'),
         ("lines/b/outputs.toml", "address = 2000", "address = 1040")],
        ["lines/b/outputs.toml:3: block W: holding 1040..1103 is already used by block W "
         "(lines/a/outputs.toml:3, holding 1000..1063); one writer a block; give each line its "
         "own"],
    ),
}  # fmt: skip

CONTRADICTIONS: dict[str, Case] = {
    "range upside down": (
        [(TAGS, "low = 0, high = 450", "low = 450, high = 450")],
        ['lines/a/tags.toml:4: tag "SIC-103.PV": low = 450 is not below high = 450; give the '
         "ends of the instrument range"],
    ),
    "pH band upside down": (
        [(TRIM, "ph_low = 10.95", "ph_low = 11.5")],
        ["lines/a/trim.toml:7: [limits]: ph_low = 11.5 is not below ph_high = 11.45; exchange "
         "or correct them"],
    ),
    "suggestion shorter than acceptance": (
        [(TRIM, "accept_time_s = 600", "accept_time_s = 900")],
        ["lines/a/trim.toml:6: [limits]: accept_time_s = 900 is not below ttl_s = 900; a "
         "suggestion must outlive the time the operator takes to accept it"],
    ),
    "smallest above largest": (
        [(TRIM, "min_change_kg_h = 0.5", "min_change_kg_h = 20")],
        ["lines/a/trim.toml:4: [limits]: min_change_kg_h = 20 is not below max_change_kg_h = "
         "20; the smallest suggestion must be below the largest change"],
    ),
    "heel fills the reactor": (
        [(TRIM, "heel_m3 = 3.0", "heel_m3 = 12.0")],
        ["lines/a/trim.toml:15: [plant]: heel_m3 = 12 is not below max_volume_m3 = 9.8; the "
         "heel must leave room for the batch"],
    ),
    "a single probe": (
        [(TRIM, '["AIT-106A.PV", "AIT-106B.PV"]', '["AIT-106A.PV"]')],
        ["lines/a/trim.toml:21: [tags]: ph_tags has 1 entries; permitted: 2 to 8; the median "
         "needs at least two probes"],
    ),
    "hold list without a probe's component": (
        [(TRIM, '["C03", "C09"]', '["C03"]')],
        ["lines/a/trim.toml:29: [tags]: hold_components lacks C09, the component of "
         "'AIT-106A.PV'; a trim would hide its defect; add it"],
    ),
    "hold list with ambient": (
        [(TRIM, '["C03", "C09"]', '["C03", "C09", "C12"]')],
        ["lines/a/trim.toml:29: [tags]: hold_components: component 'C12' is never reported as "
         "faulty (reportable = false); remove it"],
    ),
    "trim without a schedule": (
        [(LINE, 'schedule = "schedules/short.csv"\n', "")],
        ["lines/a/trim.toml:1: a trim needs the batch schedule's NaOH flow, but "
         "lines/a/line.toml names no schedule; add it or remove trim.toml"],
    ),
    "trim without answers": (
        [(OUTPUTS, '\n[block_r]\nlink = "plc"\naddress = 1100\n', "")],
        ["lines/a/trim.toml:1: a trim needs the operator's answer, but lines/a/outputs.toml has "
         "no [block_r]; add it or remove trim.toml"],
    ),
    "Modbus key of an OPC UA tag": (
        [(TAGS, 'node = "s=A106"', 'node = "s=A106", address = 5')],
        ["lines/a/tags.toml:10: tag \"AIT-106A.PV\": 'address' is a key of Modbus links, "
         "but this link speaks OPC UA; remove it"],
    ),
    "OPC UA key of a Modbus tag": (
        [(TAGS, "address = 4, ", 'address = 4, node = "s=x", ')],
        ["lines/a/tags.toml:4: tag \"SIC-103.PV\": 'node' is a key of OPC UA links, but this "
         "link speaks Modbus TCP; remove it"],
    ),
    "age of a Modbus tag": (
        [(TAGS, "address = 4, ", "address = 4, max_age_s = 5, ")],
        ["lines/a/tags.toml:4: tag \"SIC-103.PV\": 'max_age_s' is a key of OPC UA links, but "
         "this link speaks Modbus TCP; remove it"],
    ),
    "OPC UA key of a Modbus link": (
        [(LINE, 'host = "10.0.0.5"', 'host = "10.0.0.5"\nurl = "opc.tcp://x"')],
        ["lines/a/line.toml:18: link \"plc\": 'url' is a key of OPC UA links, but this link "
         "speaks Modbus TCP; remove it"],
    ),
    "node of a Modbus block": (
        [(OUTPUTS, "address = 1000", 'node = "s=W"')],
        ["lines/a/outputs.toml:3: [block_w]: missing key 'address' (0..65535); add it",
         "lines/a/outputs.toml:5: [block_w]: 'node' is a key of OPC UA links, but this link "
         "speaks Modbus TCP; remove it"],
    ),
    "no line at all": (
        [(APPLIANCE, '["a"]', "[]")],
        ["appliance.toml:2: lines has 0 entries; permitted: 1 or more"],
    ),
}  # fmt: skip

SYNTAX: dict[str, Case] = {
    "syntax": (
        [(TAGS, "address = 4,", "address = ,")],
        ["lines/a/tags.toml:4: not TOML in column 162: invalid value"],
    ),
    "unclosed list": (
        [(TRIM, 'hold_components = ["C03", "C09"]', 'hold_components = ["C03", "C09"')],
        ["lines/a/trim.toml:29: not TOML at the end of the file: unclosed array"],
    ),
    "key twice": (
        [(TRIM, "ttl_s = 900", "ttl_s = 900\nttl_s = 800")],
        ["lines/a/trim.toml:6: not TOML in column 12: cannot overwrite a value"],
    ),
}  # fmt: skip

GROUPS = (KEYS, TYPES, VALUES, DUPLICATES, REFERENCES, ADDRESSES, CONTRADICTIONS, SYNTAX)
CASES = dict(itertools.chain.from_iterable(group.items() for group in GROUPS))


def report(directory: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(directory)
    assert str(caught.value).splitlines() == [str(fault) for fault in caught.value.faults]
    return str(caught.value).splitlines()


def test_no_case_hides_another() -> None:
    assert len(CASES) == sum(len(group) for group in GROUPS)


@pytest.mark.parametrize("name", CASES)
def test_a_fault_is_reported_with_its_place_and_remedy(
    name: str, broken: Callable[..., Path]
) -> None:
    edits, expected = CASES[name]
    assert report(broken(*edits)) == expected


def test_every_fault_of_every_file_is_reported_at_once(broken: Callable[..., Path]) -> None:
    chosen = ["relative directory", "ring shorter than a batch", "edge to itself", "misspelt key",
              "length of block R", "authority above the ceiling", "unclosed list"]  # fmt: skip
    edits = [edit for name in chosen[:-1] for edit in CASES[name][0]]
    expected = [line for name in chosen[:-1] for line in CASES[name][1]]
    assert sorted(report(broken(*edits))) == sorted(expected)


def test_a_file_that_is_not_toml_does_not_hide_the_others(broken: Callable[..., Path]) -> None:
    edits = [*CASES["syntax"][0], *CASES["time to live too short"][0]]
    expected = [*CASES["syntax"][1], *CASES["time to live too short"][1]]
    assert report(broken(*edits)) == expected


@pytest.mark.parametrize("file", [LINE, TAGS, OUTPUTS, COMPONENTS, APPLIANCE])
def test_a_missing_file_is_one_fault(file: str, broken: Callable[..., Path]) -> None:
    directory = broken()
    (directory / file).unlink()
    reported = report(directory)
    assert len(reported) == 1
    assert reported[0].startswith(f"{file}: file is missing; ")


def test_a_misspelt_file_name_is_not_a_missing_feature(broken: Callable[..., Path]) -> None:
    directory = broken()
    (directory / TRIM).rename(directory / "lines/a/trims.toml")
    assert report(directory) == ["lines/a/trims.toml: unknown file; did you mean 'trim.toml'?"]


def test_text_in_another_encoding_is_named_by_line(broken: Callable[..., Path]) -> None:
    directory = broken()
    path = directory / COMPONENTS
    path.write_bytes(path.read_bytes().replace(b"ambient", "Ambiente à".encode("latin-1")))
    assert report(directory)[0] == (
        "lines/a/components.toml:5: byte 0xE0 is not UTF-8; save the file as UTF-8"
    )


def test_a_byte_order_mark_is_no_fault(broken: Callable[..., Path]) -> None:
    directory = broken()
    path = directory / LINE
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert load(directory).lines[0].title == "Line A"


def test_a_schedule_that_is_not_one_is_reported_by_its_line(broken: Callable[..., Path]) -> None:
    directory = broken((SCHEDULE, "2,60,120", "2,70,120"))
    reported = report(directory)
    assert len(reported) == 1
    assert reported[0].startswith("schedules/short.csv:3: ")


@pytest.mark.parametrize("number", ["9" * 5000, "0x1" + "0" * 5000, str(2**63)])
def test_absurd_numbers_are_faults_like_any_other(number: str, broken: Callable[..., Path]) -> None:
    reported = report(broken((TRIM, "ph_low = 10.95", f"ph_low = {number}")))
    assert len(reported) == 1
    assert reported[0].startswith("lines/a/trim.toml:")


def test_absurd_nesting_is_a_fault_like_any_other(broken: Callable[..., Path]) -> None:
    reported = report(broken((TRIM, "ph_low = 10.95", "ph_low = " + "[" * 5000)))
    assert len(reported) == 1
    assert reported[0].startswith("lines/a/trim.toml:")


def test_a_directory_without_a_configuration_is_said_so(tmp_path: Path) -> None:
    assert report(tmp_path) == [
        f"appliance.toml: file is missing; is {tmp_path} the configuration directory?"
    ]
