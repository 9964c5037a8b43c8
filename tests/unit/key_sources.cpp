// SPDX-License-Identifier: BSL-1.0
#include "support/temporary_directory.hpp"
#include <rondo/store/key_sources.hpp>

#include <boost/test/unit_test.hpp>

#include <stdlib.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

using namespace rondo::store;

namespace {

/// An environment variable for the length of a test.
class variable {
public:
  variable(std::string name, std::string const& value) : name_{std::move(name)} {
    ::setenv(name_.c_str(), value.c_str(), 1);
  }
  variable(variable const&) = delete;
  variable& operator=(variable const&) = delete;
  ~variable() { ::unsetenv(name_.c_str()); }

private:
  std::string name_;
};

/// `name=secret` of each.
std::vector<std::string> shown(std::vector<stored_key> const& keys) {
  std::vector<std::string> out;
  for (auto const& key : keys) {
    out.push_back(key.name + '=' + std::string{key.secret.reveal()});
  }
  return out;
}

using list = std::vector<std::string>;

std::string value_of(std::string const& line) {
  auto const all = parse_dotenv(line, ".env");
  BOOST_TEST_REQUIRE(all.size() == 1U, line);
  return all[0].value;
}

std::string fault(std::string const& text) {
  try {
    (void)parse_dotenv(text, "some/.env");
    return {};
  } catch (file_error const& e) {
    std::string const what = e.what();
    return what.substr(0, what.rfind(": the file is malformed"));
  }
}

} // namespace

BOOST_AUTO_TEST_SUITE(key_sources)

BOOST_AUTO_TEST_CASE(a_list_is_split_at_commas) {
  BOOST_TEST(shown(split_keys("a, b ,\tc", "V")) == (list{"V-1=a", "V-2=b", "V-3=c"}),
             boost::test_tools::per_element());
  BOOST_TEST(shown(split_keys(",a,,b,a,\n", "V")) == (list{"V-2=a", "V-4=b"}), boost::test_tools::per_element());
  BOOST_CHECK_THROW((void)split_keys("", "V"), file_error);
  BOOST_CHECK_THROW((void)split_keys(" , ,", "V"), file_error);
  BOOST_CHECK_THROW((void)split_keys("a b", "V"), file_error);
}

BOOST_AUTO_TEST_CASE(a_list_comes_from_the_environment) {
  variable const set{"RONDO_TEST_KEYS", "k1, k2"};
  BOOST_TEST(shown(environment_keys("RONDO_TEST_KEYS")) == (list{"RONDO_TEST_KEYS-1=k1", "RONDO_TEST_KEYS-2=k2"}),
             boost::test_tools::per_element());
  try {
    (void)environment_keys("RONDO_TEST_UNSET");
    BOOST_ERROR("found what is not there");
  } catch (file_error const& e) {
    BOOST_TEST((e.code() == rondo::error::variable_not_set));
    BOOST_TEST(std::string{e.what()}.find("RONDO_TEST_UNSET") != std::string::npos);
  }
}

BOOST_AUTO_TEST_CASE(dotenv_values_in_every_common_spelling) {
  BOOST_TEST(value_of("A=b") == "b");
  BOOST_TEST(value_of("  export   A  =  b c  ") == "b c");
  BOOST_TEST(value_of("export\tA=b") == "b");
  BOOST_TEST(value_of("A=") == "");
  BOOST_TEST(value_of("A=b # comment") == "b");
  BOOST_TEST(value_of("A=b\t# comment") == "b");
  BOOST_TEST(value_of("A=b#c") == "b#c");
  BOOST_TEST(value_of("A=# comment") == "");
  BOOST_TEST(value_of("A='b # c' # comment") == "b # c");
  BOOST_TEST(value_of("A=\"b\\\"\\\\ \\$x\\n\\t\\q\"") == "b\"\\ $x\n\t\\q");
  BOOST_TEST(value_of("A='\\n'") == "\\n");
  BOOST_TEST(value_of("A=b=c") == "b=c");
  BOOST_TEST(value_of("A=$B") == "$B");
  auto const many = parse_dotenv("\xef\xbb\xbf# head\r\nA=1\r\n\r\n   # more\nB = 2", ".env");
  BOOST_TEST_REQUIRE(many.size() == 2U);
  BOOST_TEST((many[0].name == "A" && many[0].value == "1" && many[0].line == 2U));
  BOOST_TEST((many[1].name == "B" && many[1].value == "2" && many[1].line == 5U));
}

BOOST_AUTO_TEST_CASE(a_broken_dotenv_line_is_named) {
  BOOST_TEST(fault("A=1\nnonsense\n") == "some/.env:2: there is no '=' in it");
  BOOST_TEST(fault("=1") == "some/.env:1: what stands before '=' is no name of a variable");
  BOOST_TEST(fault("1A=1") == "some/.env:1: what stands before '=' is no name of a variable");
  BOOST_TEST(fault("A B=1") == "some/.env:1: what stands before '=' is no name of a variable");
  BOOST_TEST(fault("\n\nA=\"1") == "some/.env:3: the quotes are not closed");
  BOOST_TEST(fault("A=\"1\\\"") == "some/.env:1: the quotes are not closed");
  BOOST_TEST(fault("A='1'2") == "some/.env:1: text after the closing quotes");
}

BOOST_AUTO_TEST_CASE(a_services_keys_come_in_the_order_of_their_numbers) {
  rondo::test::temporary_directory const here;
  auto const env = here.write(
      ".env",
      "RONDOT_API_KEY_10=ten\nRONDOT_API_KEY_2 = two\nOTHER_API_KEY=no\nRONDOT_API_KEY=plain\nRONDOT_API_KEY_1='one'\n"
      "RONDOT_API_KEY_3=\nRONDOT_API_KEY_X=no\nRONDOT_API_KEYS=no\nRONDOT_API_KEY_4=one\nRONDOT_API_KEY_=no\n");
  list const expected{"RONDOT_API_KEY=plain", "RONDOT_API_KEY_1=one", "RONDOT_API_KEY_2=two", "RONDOT_API_KEY_10=ten"};
  BOOST_TEST(shown(dotenv_keys(env, "rondot")) == expected, boost::test_tools::per_element());
  BOOST_TEST(shown(dotenv_keys(env, "RONDOT")) == expected, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(file_and_environment_complete_each_other) {
  rondo::test::temporary_directory const here;
  variable const both{"RONDO_T_API_KEY", "outside"};
  variable const more{"RONDO_T_API_KEY_2", "two"};
  auto const env = here.write(".env", "RONDO_T_API_KEY=inside\nRONDO_T_API_KEY_1=one\n");
  BOOST_TEST(shown(dotenv_keys(env, "rondo-t")) ==
                 (list{"RONDO_T_API_KEY=inside", "RONDO_T_API_KEY_1=one", "RONDO_T_API_KEY_2=two"}),
             boost::test_tools::per_element());
  BOOST_TEST(shown(dotenv_keys(here.path() / "missing", "rondo_t")) ==
                 (list{"RONDO_T_API_KEY=outside", "RONDO_T_API_KEY_2=two"}),
             boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(a_service_without_keys_is_an_error) {
  rondo::test::temporary_directory const here;
  auto const code = [&](std::filesystem::path const& path) {
    try {
      (void)dotenv_keys(path, "rondou");
    } catch (file_error const& e) {
      return e.code();
    }
    return rondo::error_code{};
  };
  BOOST_TEST((code(here.write(".env", "A=1\n")) == rondo::error::variable_not_set));
  BOOST_TEST((code(here.path() / "missing") == rondo::error::file_unreadable));
  BOOST_TEST((code(here.write("bad", "RONDOU_API_KEY=a b\n")) == rondo::error::file_malformed));
}

BOOST_AUTO_TEST_SUITE_END()
