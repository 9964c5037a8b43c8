// SPDX-License-Identifier: BSL-1.0
#include <rondo/store/csv_document.hpp>
#include <rondo/store/csv_keys.hpp>

#include <boost/test/unit_test.hpp>

#include <chrono>
#include <cstddef>
#include <random>
#include <string>
#include <string_view>
#include <vector>

using namespace std::chrono_literals;
using rondo::store::csv_document;
using rondo::store::csv_keys;
using rondo::store::csv_state;
using rondo::store::file_error;

namespace {

constexpr rondo::wall_time noon{std::chrono::sys_days{std::chrono::year{2026} / 11 / 21} + 12h};

std::string const header = "API,Date,available_tokens,last_checked,is_exhausted,voice_limit_reached\n";

csv_keys keys(std::string text) {
  return {std::move(text), "some/BASE.csv"};
}

/// What is wrong with a table; empty = nothing.
std::string fault(std::string const& text) {
  try {
    (void)keys(text);
    return {};
  } catch (file_error const& e) {
    BOOST_TEST((e.code() == rondo::error::file_malformed));
    std::string const what = e.what();
    return what.substr(0, what.rfind(": the file is malformed"));
  }
}

std::string in_quotes(std::string_view value) {
  std::string out = "\"";
  for (auto const c : value) {
    out.append(c == '"' ? 2 : 1, c);
  }
  return out + '"';
}

} // namespace

BOOST_AUTO_TEST_SUITE(csv)

BOOST_AUTO_TEST_CASE(a_plain_table_is_read) {
  auto const table = keys(header + "sk_1,2026-01-02,9500,2026-11-20T10:00:00Z,False,True\nsk_2,,,,,\n");
  BOOST_TEST_REQUIRE(table.keys().size() == 2U);
  auto const& a = table.keys()[0];
  BOOST_TEST(a.name == "BASE-1");
  BOOST_TEST(a.secret.equals("sk_1"));
  BOOST_TEST(a.remaining.value() == 9500);
  BOOST_TEST((a.checked == noon - 26h));
  BOOST_TEST(!a.exhausted);
  BOOST_TEST(a.barred.contains(rondo::capability::voice_creation));
  auto const& b = table.keys()[1];
  BOOST_TEST(b.name == "BASE-2");
  BOOST_TEST(!b.remaining);
  BOOST_TEST(!b.checked);
  BOOST_TEST((!b.exhausted && b.barred.empty()));
  BOOST_TEST(table.find("sk_2").value() == 1U);
  BOOST_TEST(!table.find("sk_3"));
}

BOOST_AUTO_TEST_CASE(cells_are_read_in_every_common_spelling) {
  auto const one = [](std::string const& row) { return keys(header + row + "\n").keys().at(0); };
  for (auto const* yes : {"True", "true", "1", "TRUE", " True "}) {
    BOOST_TEST(one(std::string{"k,,,,"} + yes + ",").exhausted, yes);
  }
  for (auto const* no : {"False", "false", "0", ""}) {
    BOOST_TEST(!one(std::string{"k,,,,"} + no + ",").exhausted, no);
  }
  BOOST_TEST(one("k,,9500.0,,,").remaining.value() == 9500);
  BOOST_TEST(one("k,,-7,,,").remaining.value() == 0);
  BOOST_TEST(one("\" k \",,\"12\",,,").secret.equals("k"));
  BOOST_TEST((one("k,,,2026-11-21,,").checked == noon - 12h));
  BOOST_TEST((one("k,,,2026-11-21 12:00:00,,").checked == noon));
  BOOST_TEST((one("k,,,2026-11-21T12:00:00.000000,,").checked == noon));
  BOOST_TEST((one("k,,,2026-11-21T14:00:00+02:00,,").checked == noon));
  BOOST_TEST((one("k,,,1795262400,,").checked == noon));
  BOOST_TEST((one("k,,,1795262400.75,,").checked == noon));
}

BOOST_AUTO_TEST_CASE(a_broken_row_is_named_by_file_line_and_column_and_never_quoted) {
  std::string const at = "some/BASE.csv:";
  BOOST_TEST(fault(header + "k,,12x,,,\n") == at + "2: column available_tokens: not a whole number");
  BOOST_TEST(fault(header + "k,,1.5,,,\n") == at + "2: column available_tokens: not a whole number");
  BOOST_TEST(fault(header + "k,,99999999999999999999,,,\n") == at + "2: column available_tokens: not a whole number");
  BOOST_TEST(fault(header + "k,,,,,\nl,,,yesterday,,\n") ==
             at + "3: column last_checked: not a date such as 2026-04-24T00:01:00Z");
  BOOST_TEST(fault(header + "k,,,,maybe,\n") == at + "2: column is_exhausted: neither True nor False");
  BOOST_TEST(fault(header + "k,,,,,2\n") == at + "2: column voice_limit_reached: neither True nor False");
  BOOST_TEST(fault(header + ",,,,,\n") == at + "2: column API: the key is missing");
  BOOST_TEST(fault(header + "k y,,,,,\n") == at + "2: column API: a key holds visible ASCII characters only");
  BOOST_TEST(fault(header + "\"k\ny\",,,,,\n") == at + "2: column API: a key holds visible ASCII characters only");
  BOOST_TEST(fault(header + "k,,,,,\nl,,,,,\nk,,,,,\n") == at + "4: column API: the same key as in line 2");
  BOOST_TEST(fault(header + "k,,5\n") == at + "2: column last_checked: the row ends before it");
  BOOST_TEST(fault(header + "k,,,,,,\n") == at + "2: column 7: the row has more cells than the header");
  BOOST_TEST(fault(header + "k,,\"5,,,\n\nl") == at + "2: column available_tokens: the quotes are not closed");
  BOOST_TEST(fault(header + "k,,\"5\"x,,,\n") == at + "2: column available_tokens: text after the closing quotes");
  BOOST_TEST(fault(header + "k,,5\"6,,,\n") ==
             at + "2: column available_tokens: quotes inside a cell that does not begin with them");
  BOOST_TEST(fault(header + "k,,5\r,,,\n") == at + "2: column available_tokens: a carriage return without a line feed");
  BOOST_TEST(fault("Date,available_tokens\n") == at + "1: column API: the column is missing");
  BOOST_TEST(fault("API,api\n") == at + "1: column API: the column is there twice");
  for (auto const* empty : {"", "\n", "\r\n\r\n", "\xef\xbb\xbf", "  \n"}) {
    BOOST_TEST(fault(empty) == at + "1: the header is missing");
  }
  // lines inside quotes count
  BOOST_TEST(fault("API,note,available_tokens\nk,\"a\nb\r\nc\",1\n\nl,\"x\ny\",z\n") ==
             at + "7: column available_tokens: not a whole number");
}

BOOST_AUTO_TEST_CASE(columns_stand_in_any_order_and_strange_ones_are_kept) {
  std::string const text =
      "\xef\xbb\xbf"
      "note, Is_Exhausted ,api,\"available_tokens\"\r\n\"a, \"\"b\"\"\r\n\",false,sk_1,\"5\"\r\n\r\n;:\xff,0,sk_2,";
  auto table = keys(text);
  BOOST_TEST(table.text() == text);
  BOOST_TEST(table.keys()[0].remaining.value() == 5);
  BOOST_TEST(table.update(0, {.remaining = 4, .checked = {}, .exhausted = true, .voice_limit = false}, noon));
  BOOST_TEST(table.text() == "\xef\xbb\xbf"
                             "note, Is_Exhausted ,api,\"available_tokens\",last_checked\r\n\"a, "
                             "\"\"b\"\"\r\n\",true,sk_1,\"4\",2026-11-21T12:00:00.000Z\r\n\r\n;:\xff,0,sk_2,,");
  BOOST_TEST(table.update(1, {.remaining = {}, .checked = noon - 1h, .exhausted = true, .voice_limit = true}, noon));
  BOOST_TEST(
      table.text() ==
      "\xef\xbb\xbf"
      "note, Is_Exhausted ,api,\"available_tokens\",last_checked,voice_limit_reached\r\n\"a, "
      "\"\"b\"\"\r\n\",true,sk_1,\"4\",2026-11-21T12:00:00.000Z,\r\n\r\n;:\xff,1,sk_2,,2026-11-21T12:00:00.000Z,True");
  BOOST_TEST(keys(table.text()).keys()[1].exhausted);
}

BOOST_AUTO_TEST_CASE(cells_that_already_say_it_stay_as_they_are) {
  std::string const text = header + "sk_1,01.02.2026,9500.0,2026-11-21 10:00,FALSE, 1 \n";
  auto table = keys(text);
  csv_state const same{.remaining = 9500, .checked = noon - 2h, .exhausted = false, .voice_limit = true};
  BOOST_TEST(!table.update(0, same, noon));
  BOOST_TEST(!table.update(0, {}, noon));
  BOOST_TEST(!table.update(0, {.remaining = {}, .checked = noon - 3h, .exhausted = {}, .voice_limit = {}}, noon));
  BOOST_TEST(table.text() == text);
  BOOST_TEST(table.update(0, {.remaining = 9400, .checked = {}, .exhausted = {}, .voice_limit = {}}, noon + 1ms));
  BOOST_TEST(table.text() == header + "sk_1,01.02.2026,9400,2026-11-21T12:00:00.001Z,FALSE, 1 \n");
  BOOST_TEST(table.update(0, {.remaining = {}, .checked = noon + 1h, .exhausted = {}, .voice_limit = {}}, noon));
  BOOST_TEST(table.text() == header + "sk_1,01.02.2026,9400,2026-11-21T13:00:00.000Z,FALSE, 1 \n");
}

BOOST_AUTO_TEST_CASE(random_tables_survive_byte_for_byte) {
  std::mt19937 random{7};
  auto const pick = [&](std::size_t n) { return std::uniform_int_distribution<std::size_t>{0, n - 1}(random); };
  std::string const alphabet = "ab1 ,\"\r\n;\t'\xc3\xa9\xf0\x9f\x98\x80\xff";
  for (int round = 0; round < 2'000; ++round) {
    auto const columns = 1 + pick(5);
    auto const rows = pick(6);
    std::string const end = pick(2) ? "\n" : "\r\n";
    std::string text = pick(4) == 0 ? "\xef\xbb\xbf" : "";
    std::vector<std::vector<std::string>> cells;
    for (std::size_t r = 0; r <= rows; ++r) {
      cells.emplace_back();
      for (std::size_t c = 0; c < columns; ++c) {
        std::string value;
        for (auto n = pick(6); n > 0; --n) {
          value.push_back(alphabet[pick(alphabet.size())]);
        }
        // a blank cell alone in its line would be an empty line
        auto const must_quote =
            value.find_first_of(",\"\r\n") != value.npos || value.find_first_not_of(" \t") == value.npos;
        text += (c == 0 ? "" : ",") + (must_quote || pick(3) == 0 ? in_quotes(value) : value);
        cells.back().push_back(value);
      }
      text += r == rows && pick(2) ? "" : end;
      text += r < rows && pick(8) == 0 ? end : "";
    }
    csv_document table{text, "t"};
    BOOST_REQUIRE_EQUAL(table.rows(), rows);
    BOOST_REQUIRE_EQUAL(table.columns(), columns);
    BOOST_REQUIRE_MESSAGE(table.text() == text, text);
    auto const check = [&](csv_document const& t) {
      for (std::size_t r = 0; r < rows; ++r) {
        for (std::size_t c = 0; c < cells[0].size(); ++c) {
          BOOST_REQUIRE_EQUAL(t.value(r, c), cells[r + 1][c]);
        }
      }
    };
    check(table);
    if (rows == 0) {
      continue;
    }
    for (auto changes = pick(4); changes > 0; --changes) { // some cells change, all others must not
      auto const r = pick(rows);
      auto const c = pick(columns);
      cells[r + 1][c] = "x" + std::string(1, alphabet[pick(alphabet.size())]);
      table.set(r, c, cells[r + 1][c]);
    }
    if (pick(2)) {
      table.add_column("new, column");
      for (auto& row : cells) {
        row.emplace_back();
      }
      cells[1].back() = "y\"";
      table.set(0, columns, "y\"");
      check(table);
      BOOST_REQUIRE_EQUAL((csv_document{table.text(), "t"}.name(columns)), "new, column");
    }
    check(csv_document{table.text(), "t"});
  }
}

BOOST_AUTO_TEST_CASE(random_bytes_are_read_or_refused) {
  std::mt19937 random{11};
  std::string const alphabet = "a,\"\r\nAPI";
  for (int round = 0; round < 20'000; ++round) {
    std::string text;
    for (auto n = random() % 24; n > 0; --n) {
      text.push_back(alphabet[random() % alphabet.size()]);
    }
    try {
      csv_document const table{text, "t"};
      BOOST_REQUIRE_EQUAL(table.text(), text);
    } catch (file_error const&) { // as good
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()
