// Certificates and keys as operators give them, right and wrong, and how long a ticket is good.
#include "transport/tls_context.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <stdexcept>

namespace turnpike::transport {
namespace {

class Certificates : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "turnpike-certificates-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    run("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 300 -subj /CN=own "
        "-keyout own.key -out own.pem");
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void run(const std::string& words) const {
    const std::string command = "cd " + folder_ + " && openssl " + words + " 2>/dev/null";
    ASSERT_EQ(std::system(command.c_str()), 0) << command;
  }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ + "/" + name) << text;
  }
  std::string read(const std::string& name) const {
    std::ostringstream text;
    text << std::ifstream(folder_ + "/" + name).rdbuf();
    return text.str();
  }
  // Issued by an authority that another one has issued: leaf.pem, middle.pem, root.pem.
  void make_chain(const std::string& extensions) const {
    run("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 300 -subj /CN=root "
        "-keyout root.key -out root.pem");
    write("ca.ext", "basicConstraints=critical,CA:TRUE\n");
    write("leaf.ext", extensions);
    for (const auto& [name, issuer, file] :
         {std::tuple{"middle", "root", "ca.ext"}, std::tuple{"leaf", "middle", "leaf.ext"}}) {
      const std::string of = name;
      run("req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=" + of + " -keyout " +
          of + ".key -out " + of + ".csr");
      run("x509 -req -in " + of + ".csr -CA " + issuer + ".pem -CAkey " + issuer +
          ".key -CAcreateserial -days 200 -extfile " + file + " -out " + of + ".pem");
    }
  }
  // What is wrong with them; empty: nothing.
  std::string problem(const std::string& chain, const std::string& key) {
    try {
      const TlsContext context({{folder_ + "/" + chain, folder_ + "/" + key}}, tickets_);
      warnings_ = context.warnings();
      return "";
    } catch (const std::runtime_error& error) {
      return error.what();
    }
  }

  std::string folder_;
  TicketKeys tickets_;
  std::vector<std::string> warnings_;
};

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST_F(Certificates, ThatAreRightAreTaken) {
  EXPECT_EQ(problem("own.pem", "own.key"), "");
  EXPECT_TRUE(warnings_.empty());
}

TEST_F(Certificates, OfClientsAuthoritiesAreToldOfIfTheyAreNone) {
  const auto problem_with = [&](const std::string& authorities) {
    try {
      const TlsContext context({{folder_ + "/own.pem", folder_ + "/own.key"}}, tickets_,
                               Protocol::kTls, folder_ + "/" + authorities);
      EXPECT_EQ(SSL_CTX_get_verify_mode(context.get()),
                SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT);
      return std::string();
    } catch (const std::runtime_error& error) {
      return std::string(error.what());
    }
  };
  EXPECT_EQ(problem_with("own.pem"), "");
  EXPECT_TRUE(contains(problem_with("none.pem"), "none.pem: expected the certificates of"));
  EXPECT_TRUE(contains(problem_with("own.key"), "own.key: expected the certificates of"));
}

TEST_F(Certificates, ThatAreWrongAreToldByTheirFiles) {
  EXPECT_TRUE(contains(problem("none.pem", "own.key"), "none.pem: expected a chain"));
  EXPECT_TRUE(contains(problem("own.pem", "none.key"), "none.key: expected the private key of"));
  write("noise.pem", "-----BEGIN CERTIFICATE-----\nnoise\n-----END CERTIFICATE-----\n");
  EXPECT_TRUE(contains(problem("noise.pem", "own.key"), "noise.pem: expected a chain"));
  run("ecparam -genkey -name prime256v1 -noout -out other.key");
  EXPECT_TRUE(contains(problem("own.pem", "other.key"), "key values mismatch"));
  run("req -new -key own.key -subj /CN=own -out own.csr");
  run("x509 -req -in own.csr -signkey own.key -days 0 -out expired.pem");
  EXPECT_TRUE(
      contains(problem("expired.pem", "own.key"), "expired.pem: the certificate has expired"));
}

TEST_F(Certificates, ThatEndSoonAreToldOf) {
  run("req -x509 -key own.key -days 3 -subj /CN=own -out soon.pem");
  EXPECT_EQ(problem("soon.pem", "own.key"), "");
  ASSERT_EQ(warnings_.size(), 1U);
  EXPECT_TRUE(contains(warnings_[0], "soon.pem: the certificate expires within"));
}

TEST_F(Certificates, NeedTheirIssuers) {
  make_chain("authorityInfoAccess=caIssuers;URI:http://example.org/middle.der\n");
  EXPECT_TRUE(contains(problem("leaf.pem", "leaf.key"), "expected the whole chain"));
  write("whole.pem", read("leaf.pem") + read("middle.pem"));
  EXPECT_EQ(problem("whole.pem", "leaf.key"), "");
  EXPECT_TRUE(warnings_.empty());
  write("strange.pem", read("leaf.pem") + read("own.pem"));
  EXPECT_TRUE(contains(problem("strange.pem", "leaf.key"), "expected each certificate's issuer"));
}

TEST_F(Certificates, OfAnAuthorityOfOnesOwnMayBeAlone) {
  make_chain("basicConstraints=CA:FALSE\n");
  EXPECT_EQ(problem("leaf.pem", "leaf.key"), "");
  ASSERT_EQ(warnings_.size(), 1U);
  EXPECT_TRUE(contains(warnings_[0], "holds no issuer"));
}

// Of a client and a server that talk through memory: whether the client's session was taken up.
class Session {
 public:
  Session(SSL_CTX* client, SSL_CTX* server, SSL_SESSION* before)
      : client_(SSL_new(client)), server_(SSL_new(server)) {
    BIO *to_server = nullptr, *to_client = nullptr;
    BIO_new_bio_pair(&to_server, 0, &to_client, 0);
    SSL_set_bio(client_, to_server, to_server);
    SSL_set_bio(server_, to_client, to_client);
    SSL_set_connect_state(client_);
    SSL_set_accept_state(server_);
    if (before != nullptr) SSL_set_session(client_, before);
    char byte = 0;
    for (int i = 0; i < 10; ++i) {
      SSL_do_handshake(client_);
      SSL_do_handshake(server_);
      SSL_read(client_, &byte, 1);  // takes the ticket
    }
  }
  ~Session() {
    // One that was broken off isn't resumed.
    SSL_set_shutdown(client_, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(client_);
    SSL_free(server_);
  }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  bool resumed() const { return SSL_session_reused(server_) == 1; }
  SSL_SESSION* keep() { return SSL_get1_session(client_); }

 private:
  SSL *client_, *server_;
};

TEST_F(Certificates, TicketsAreGoodForTwoKeysLives) {
  const TlsContext context({{folder_ + "/own.pem", folder_ + "/own.key"}}, tickets_);
  const std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> client(SSL_CTX_new(TLS_client_method()),
                                                            SSL_CTX_free);
  const auto session = [&](SSL_SESSION* before) {
    return std::make_unique<Session>(client.get(), context.get(), before);
  };
  tickets_.rotate(1);
  const auto first = session(nullptr);
  EXPECT_FALSE(first->resumed());
  SSL_SESSION* const kept = first->keep();
  EXPECT_TRUE(session(kept)->resumed());
  tickets_.rotate(2);
  EXPECT_TRUE(session(kept)->resumed()) << "not yet another key";
  tickets_.rotate(1 + TicketKeys::kLifeMs);
  EXPECT_TRUE(session(kept)->resumed()) << "by the key before";
  tickets_.rotate(1 + 2 * TicketKeys::kLifeMs);
  EXPECT_FALSE(session(kept)->resumed());
  SSL_SESSION_free(kept);
}

}  // namespace
}  // namespace turnpike::transport
