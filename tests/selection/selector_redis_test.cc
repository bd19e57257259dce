// What a fleet sees when a selector or its Redis is killed.
#include "aggregator/selection/redis_client.h"
#include "aggregator/selection/redis_presence_store.h"
#include "tests/selection/selector_fixture.h"
#include "tests/support/private_redis.h"

namespace edgefleet::selection {
namespace {

class SelectorRedisTest : public SelectorFixture {
 protected:
  void StartRedis(bool durable) {
    auto started = test::PrivateRedis::Start(durable);
    ASSERT_TRUE(started) << started.error().ToString();
    redis_ = std::move(*started);
  }
  // A selector process with its own store; replacing it is what kill -9 of the process leaves.
  void StartSelector() {
    selector_.reset();
    auto store = MakeRedisPresenceStore({.url = redis_->Url(), .connections_max = 2});
    ASSERT_TRUE(store) << store.error().ToString();
    store_ = std::move(*store);
    selector_ = MakeSelector(*store_);
  }

  std::unique_ptr<test::PrivateRedis> redis_;
  std::unique_ptr<PresenceStore> store_;
  std::unique_ptr<Selector> selector_;
};

TEST_F(SelectorRedisTest, ARestartedSelectorGoesOnAtEveryStep) {
  StartRedis(false);
  StartSelector();
  const SelectionRequest request = Request("round", 3);
  ASSERT_TRUE(selector_->OpenSelection(request));
  StartSelector();
  EXPECT_EQ(Rejected(*selector_, Id(0)), RejectionReason::kWaiting);
  EXPECT_EQ(Rejected(*selector_, Id(1)), RejectionReason::kWaiting);
  StartSelector();
  const auto reopened = selector_->OpenSelection(request);
  ASSERT_TRUE(reopened);
  EXPECT_EQ(reopened->waiting, 2U);
  const auto last = Assigned(*selector_, Id(2));
  ASSERT_TRUE(last);
  StartSelector();  // between the draw and its delivery to the others
  const auto view = selector_->GetSelection("round");
  ASSERT_TRUE(view && view->draw);
  EXPECT_EQ(view->record.state, SelectionState::kSelected);
  for (const SelectedDevice& device : view->draw->devices) {
    const auto assignment = Assigned(*selector_, device.device_id);
    ASSERT_TRUE(assignment);
    EXPECT_EQ(assignment->token, device.token);
    EXPECT_EQ(assignment->plan, "plan of round");
  }
  EXPECT_EQ(Assigned(*selector_, Id(2))->token, last->token) << "what was told stays true";
  StartSelector();
  ASSERT_TRUE(selector_->CloseSelection("round", "done").ok());
  StartSelector();
  EXPECT_EQ(Rejected(*selector_, Id(2)), RejectionReason::kNoTask);
}

TEST_F(SelectorRedisTest, TwoSelectorsServeOneFleet) {
  StartRedis(false);
  StartSelector();
  auto other_store = MakeRedisPresenceStore({.url = redis_->Url()});
  ASSERT_TRUE(other_store);
  const auto other = MakeSelector(**other_store, "two");
  ASSERT_TRUE(selector_->OpenSelection(Request("round", 4)));
  for (int i = 0; i < 3; ++i) Answer(i % 2 == 0 ? *selector_ : *other, Id(i));
  ASSERT_TRUE(Assigned(*other, Id(3)));
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(Assigned(i % 2 == 0 ? *other : *selector_, Id(i))) << i;
  ASSERT_TRUE(other->CloseSelection("round", "done").ok());
  EXPECT_EQ(Rejected(*selector_, Id(0)), RejectionReason::kNoTask) << "the other's change is seen at once";
  ASSERT_TRUE(selector_->Maintain().ok());
  ASSERT_TRUE(other->Maintain().ok()) << "who does not hold the lease leaves the sweeping";
}

TEST_F(SelectorRedisTest, ConcurrentCheckInsKeepCohortsExactAndApart) {
  StartRedis(false);
  StartSelector();
  auto other_store = MakeRedisPresenceStore({.url = redis_->Url(), .connections_max = 1});
  ASSERT_TRUE(other_store);
  const auto other = MakeSelector(**other_store, "two");
  ExpectExactCohortsUnderConcurrency(*selector_, *other, 6, 20);
}

TEST_F(SelectorRedisTest, ADurableRedisThatIsKilledLosesNothing) {
  StartRedis(true);
  StartSelector();
  ASSERT_TRUE(selector_->OpenSelection(Request("round", 3)));
  Answer(*selector_, Id(0));
  Answer(*selector_, Id(1));
  const auto assigned = Assigned(*selector_, Id(2));
  ASSERT_TRUE(assigned);
  redis_->Kill9();
  const auto refused = selector_->CheckIn(Id(0), Profile());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), StatusCode::kUnavailable);
  EXPECT_EQ(refused.error().reason(), "PRESENCE_UNREACHABLE");
  EXPECT_TRUE(refused.error().retry_after());
  EXPECT_EQ(selector_->Maintain().reason(), "PRESENCE_UNREACHABLE");
  ASSERT_TRUE(redis_->Restart().ok());
  EXPECT_EQ(Assigned(*selector_, Id(2))->token, assigned->token) << "the same selector connects again";
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(Assigned(*selector_, Id(i)));
  EXPECT_TRUE(selector_->Maintain().ok());
}

TEST_F(SelectorRedisTest, ARedisThatComesBackEmptyCostsNoCorrectness) {
  StartRedis(false);
  StartSelector();
  const SelectionRequest request = Request("round", 2);
  ASSERT_TRUE(selector_->OpenSelection(request));
  Answer(*selector_, Id(0));
  ASSERT_TRUE(Assigned(*selector_, Id(1)));
  redis_->Kill9();
  ASSERT_TRUE(redis_->Restart().ok());
  EXPECT_EQ(selector_->GetSelection("round").error().reason(), "SELECTION_UNKNOWN");
  EXPECT_EQ(Rejected(*selector_, Id(1)), RejectionReason::kNoTask)
      << "no assignment from memory that the aggregator cannot see";
  ASSERT_TRUE(selector_->OpenSelection(request));
  EXPECT_EQ(Rejected(*selector_, Id(0)), RejectionReason::kWaiting);
  EXPECT_TRUE(Assigned(*selector_, Id(1)));
}

TEST_F(SelectorRedisTest, ForeignContentIsRefusedAndNotOverwritten) {
  StartRedis(false);
  StartSelector();
  const auto address = redis::ParseUrl(redis_->Url());
  ASSERT_TRUE(address);
  redis::Client client(*address, {});
  ASSERT_TRUE(client.Command({"SET", "ef:selections", "not a sorted set"}));
  const auto refused = selector_->OpenSelection(Request("round", 2));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), StatusCode::kDataLoss);
  EXPECT_EQ(refused.error().reason(), "PRESENCE_CORRUPT");
  EXPECT_EQ(client.Command({"GET", "ef:selections"})->text, "not a sorted set");
  ASSERT_TRUE(client.Command({"DEL", "ef:selections"}));
  ASSERT_TRUE(client.Command({"HSET", "ef:sel:other", "request", "\x07junk", "state", "1", "detail", "", "sequence", "1"}));
  EXPECT_EQ(selector_->GetSelection("other").error().reason(), "PRESENCE_CORRUPT");
}

TEST_F(SelectorRedisTest, ScriptsThatTheServerForgotAreLoadedAgain) {
  StartRedis(false);
  StartSelector();
  Answer(*selector_, Id(0));
  redis::Client client(*redis::ParseUrl(redis_->Url()), {});
  ASSERT_TRUE(client.Command({"SCRIPT", "FLUSH"}));
  EXPECT_EQ(Rejected(*selector_, Id(0)), RejectionReason::kNoTask);
}

TEST(RedisUrl, IsParsed) {
  const auto plain = redis::ParseUrl("redis://cache.local:6380/3");
  ASSERT_TRUE(plain);
  EXPECT_EQ(plain->host, "cache.local");
  EXPECT_EQ(plain->port, 6380);
  EXPECT_EQ(plain->database, 3U);
  const auto login = redis::ParseUrl("redis://user:p@ss@host");
  ASSERT_TRUE(login);
  EXPECT_EQ(login->user, "user");
  EXPECT_EQ(login->password, "p@ss");
  EXPECT_EQ(login->host, "host");
  EXPECT_EQ(login->port, 6379);
  const auto socket = redis::ParseUrl("redis+unix:///run/redis/s");
  ASSERT_TRUE(socket);
  EXPECT_EQ(socket->path, "/run/redis/s");
  for (const char* bad : {"", "http://host", "redis://", "redis://host:0", "redis://host:99999", "redis://host:x",
                          "redis://host/x", "redis://user@host", "redis+unix://", "redis+unix://relative"}) {
    const auto refused = redis::ParseUrl(bad);
    ASSERT_FALSE(refused) << bad;
    EXPECT_EQ(refused.error().reason(), "BAD_REDIS_URL");
  }
}

TEST(RedisUnreachable, IsAnErrorThatSaysWhenToRetry) {
  const auto store = MakeRedisPresenceStore({.url = "redis+unix:///nonexistent/socket"});
  ASSERT_TRUE(store) << "connecting is lazy";
  const auto refused = (*store)->ListSelections();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason(), "PRESENCE_UNREACHABLE");
  EXPECT_TRUE(refused.error().retry_after());
}

}  // namespace
}  // namespace edgefleet::selection
