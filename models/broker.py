"""Redis, as a wake-up hint: a broker without Dramatiq's holes, and a decoder that never raises.

Why a subclass (dramatiq 2.2):

- Its consumer treats only ConnectionError as an outage. An out-of-memory, read-only or timed-out Redis ends the
  consumer's thread for good. Here every Redis error means "connection closed": Dramatiq makes a new consumer.
- A fetch whose answer is lost, and an acknowledgement that fails, leave messages behind as if this process were at
  work on them, for as long as it lives. Here a new consumer gives back what stands in its own name. A message that
  is being worked on is doubled by that, which is harmless: its batch has a live lease.
- Its maintenance asks for all keys of the server by `KEYS`. Here it asks for those of our queues.
- A retry whose message Redis refuses is lost, and delayed messages die with their consumer. We use neither: dispatch
  sends again from the database.
"""

import hashlib
import hmac
import re
import secrets
import threading
from collections.abc import Callable
from dataclasses import fields
from typing import Any, cast

import dramatiq
import orjson
import redis
from dramatiq.broker import MessageProxy
from dramatiq.brokers.redis import RedisBroker, _RedisConsumer, _scripts
from dramatiq.encoder import Encoder, MessageData
from dramatiq.errors import ConnectionClosed
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from models import deadlines
from models.errors import BrokerUnreachable
from models.link_trouble import REDIS, find_trouble
from models.messages import ACCEPTED_VERSIONS, ALL_MESSAGES, QUARANTINE_ACTOR, VERSION, Message, arguments

#: How long a consumer that found nothing waits at most before it asks again; Dramatiq's own second is what a small run
#: would wait for, and twice. An empty answer costs Redis microseconds.
ASK_EVERY_MS = 100
#: A message lost with its worker is sent again by dispatch after 10 s; Redis may take its own time.
MAINTENANCE_CHANCE = 50_000
MESSAGE_BYTES_MAX = 4_096
#: Dead letters decide nothing: kept a day to look at.
DEAD_LETTER_TTL_MS = 86_400_000
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


class SafeConsumer(_RedisConsumer):
    """Every Redis error is a closed connection: Dramatiq makes a new consumer, which begins by tidying up."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)  # type: ignore[no-untyped-call]
        self.timeout = min(self.timeout, ASK_EVERY_MS)
        self._fresh = True

    def ack(self, message: Any) -> None:
        """As the parent's; a quarantined message may not have said under which id Redis holds it."""
        self._unless_stopping(super().ack, message)
        if message.actor_name == QUARANTINE_ACTOR:
            self._unless_stopping(self._tidy_up, give_back=False)

    def nack(self, message: Any) -> None:
        """As the parent's."""
        self._unless_stopping(super().nack, message)

    def requeue(self, messages: Any) -> None:
        """As the parent's, but a failure must not end the thread that calls it: dispatch sends again."""
        if self.broker.stopping.is_set() and self.broker.lost:
            return  # Redis was away a moment ago; each queue's time-out would be waited for
        try:
            super().requeue(messages)  # type: ignore[no-untyped-call]
        except redis.RedisError:
            self.broker.lost = True

    def __next__(self) -> Any:
        """As the parent's; a message that names another queue is acknowledged where it was found."""
        if self._fresh:
            self._guarded(self._tidy_up, give_back=True)
            self._fresh = False
        message = self._guarded(super().__next__)
        self.broker.answered.set()
        if message is not None and message.queue_name != self.queue_name:
            return MessageProxy(message._message.copy(queue_name=self.queue_name))
        return message

    def _tidy_up(self, *, give_back: bool) -> None:
        """Of what stands in this process's name: drop what no worker accepts; and give the rest back, if it is lost."""
        client, queue = self.broker.client, f"{self.broker.namespace}:{self.queue_name}"
        mine = f"{self.broker.namespace}:__acks__.{self.broker.broker_id}.{self.queue_name}"
        for message_id in client.smembers(mine):
            content = client.hget(f"{queue}.msgs", message_id)
            accepted = None if content is None else _accept(content)[1]
            # A forged one may name another's id: acknowledging that would leave it here for ever.
            if accepted is None or str(accepted["options"]["redis_message_id"]).encode() != message_id:
                client.srem(mine, message_id)
                client.hdel(f"{queue}.msgs", message_id)
            elif give_back:
                self.broker.do_requeue(self.queue_name, message_id)

    def _unless_stopping(self, call: Callable[..., Any], *arguments: Any, **named: Any) -> None:
        """Dramatiq repeats a failed acknowledgement every five seconds, also while it is told to stop."""
        try:
            self._guarded(call, *arguments, **named)
        except ConnectionClosed:
            if not self.broker.stopping.is_set():
                raise
            self.broker.lost = True

    def _guarded(self, call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        try:
            return call(*arguments, **named)
        except redis.RedisError as error:
            self.broker.refusal = type(error).__name__
            raise ConnectionClosed(error) from None


#: Where Dramatiq's script asks which queues a dead worker still holds messages of, and what asks for ours instead.
_ASK_FOR_KEYS = 'redis.call("keys", dead_worker_acks .. "*")'
_ASK_FOR_OURS = "held(dead_worker_acks)"
_HELD = """
local function held(acks)
    local found = {{}}
    for _, queue in ipairs({{{queues}}}) do
        if redis.call("exists", acks .. "." .. queue) == 1 then table.insert(found, queue) end
    end
    return found
end
"""


def dispatch_script() -> str:
    """Dramatiq's script without its `KEYS`, which looks through every key of the server, and shows them to any login.

    So that no login needs that right (deploy/redis/users.acl).
    """
    script = str(_scripts["dispatch"].decode())
    if script.count(_ASK_FOR_KEYS) != 1:
        raise RuntimeError("this Dramatiq has another script than the one that was read")
    queues = sorted({message.QUEUE for message in ALL_MESSAGES})
    held = _HELD.format(queues=", ".join(f'"{queue}", "{queue}.DQ"' for queue in queues))
    return held + script.replace(_ASK_FOR_KEYS, _ASK_FOR_OURS)


class SafeRedisBroker(RedisBroker):
    """A RedisBroker whose consumers survive every Redis error."""

    def __init__(self, **named: Any) -> None:
        super().__init__(**named)  # type: ignore[no-untyped-call]
        self.scripts["dispatch"] = self.client.register_script(dispatch_script())
        self.stopping = threading.Event()  #: set by the workers' watchdog once this process is told to end
        self.lost = False  #: Redis did not answer while it was stopping: nobody waits for it again
        self.answered = threading.Event()  #: set whenever a consumer could ask for messages
        self.refusal = ""  #: the type of the last error of a consumer's

    @property
    def consumer_class(self) -> type[_RedisConsumer]:
        """Ours."""
        return SafeConsumer


class StrictEncoder(Encoder):
    """Accepts the messages of models.messages and nothing else. `decode` never raises.

    What fails goes to the quarantine actor with a digest and the rule it broke: a decoder that raised would strand
    the good messages fetched with the bad one, and print its content.
    """

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)  # of a short text, such as a name, a plain hash would tell what it was

    def encode(self, data: MessageData) -> bytes:
        """Compact JSON."""
        return orjson.dumps(data)

    def decode(self, data: bytes) -> MessageData:
        """The message, or one for quarantine."""
        rule, accepted = _accept(data)
        if accepted is not None:
            return accepted
        digest = hmac.new(self._key, data, hashlib.sha256).hexdigest()
        return cast(
            MessageData,
            {
                "queue_name": "credit",
                "actor_name": QUARANTINE_ACTOR,
                "args": (),
                "kwargs": {"digest": digest, "rule": rule},
                "options": {"redis_message_id": _redis_id(data) or digest},
                "message_id": digest,
                "message_timestamp": 0,
            },
        )


def make_broker(client: "redis.Redis", *, namespace: str, middleware: list[dramatiq.Middleware]) -> SafeRedisBroker:
    """The broker over this client. The middleware list is explicit: no retries, callbacks, pipelines or age limits."""
    dramatiq.set_encoder(StrictEncoder())
    return SafeRedisBroker(
        client=client,
        namespace=namespace,
        middleware=middleware,
        maintenance_chance=MAINTENANCE_CHANCE,
        dead_message_ttl=DEAD_LETTER_TTL_MS,
    )


def redis_client(url: str, *, repeats: bool = True) -> "redis.Redis":
    """A client with a deadline of seconds on every command: redis-py's own retries last up to a minute.

    With `repeats` a command whose answer was lost is sent once more. Not for workers: a repeated fetch gets other
    messages, and those of the first stay behind, as if somebody were working on them.
    """
    client = redis.Redis.from_url(url, retry=Retry(ExponentialBackoff(cap=0.2, base=0.05), int(repeats)))
    # Afterwards: what stands in the URL's query wins over arguments, and a deadline is not for it to say.
    client.connection_pool.connection_kwargs |= {
        "socket_timeout": deadlines.REDIS_S,
        "socket_connect_timeout": deadlines.REDIS_S,
        "health_check_interval": 15,
    }
    return client


def require_answer(client: "redis.Redis") -> None:
    """Raises BrokerUnreachable where Redis does not answer within its deadline."""
    try:
        client.ping()
    except redis.RedisError as error:
        trouble = find_trouble(error, REDIS)
        told = trouble.fact if trouble else type(error).__name__
        mends = trouble.hint if trouble else "start Redis, or mend DESPENSA_REDIS_URL"
        raise BrokerUnreachable(
            f"Redis does not answer: {told}",
            cause=type(error).__name__,
            hint=f"nothing is lost; {mends}, then repeat the command",
        ) from None


def embedded_client() -> "redis.Redis":
    """A Redis in this process, for the embedded profile. It dies with the process: the database remembers."""
    import fakeredis

    return cast("redis.Redis", fakeredis.FakeRedis(server=fakeredis.FakeServer()))


def send(broker: dramatiq.Broker, message: Message) -> None:
    """Put a message on its queue. Raises redis.RedisError if Redis does not take it."""
    broker.enqueue(
        dramatiq.Message(
            queue_name=message.QUEUE,
            actor_name=message.ACTOR,
            args=(),
            kwargs=arguments(message),
            options={"version": VERSION},
        )
    )


def waiting(broker: SafeRedisBroker, queue: str) -> int:
    """How many messages of a queue no worker has fetched yet. Raises redis.RedisError."""
    return int(broker.client.llen(f"{broker.namespace}:{queue}"))


def _accept(data: bytes) -> tuple[str, MessageData | None]:
    if len(data) > MESSAGE_BYTES_MAX:
        return "longer than a message", None
    try:
        parsed = orjson.loads(data)
    except orjson.JSONDecodeError:
        return "not JSON", None
    if not isinstance(parsed, dict):
        return "not an object", None
    rule = _broken_rule(parsed)
    return (rule, None) if rule else ("", cast(MessageData, parsed))


def _broken_rule(parsed: dict[str, Any]) -> str:
    kinds = {kind.ACTOR: kind for kind in ALL_MESSAGES}
    kind = kinds.get(parsed["actor_name"]) if isinstance(parsed.get("actor_name"), str) else None
    if kind is None:
        return "unknown actor"
    if set(parsed) != {"queue_name", "actor_name", "args", "kwargs", "options", "message_id", "message_timestamp"}:
        return "wrong fields"
    options, values = parsed["options"], parsed["kwargs"]
    if not isinstance(options, dict) or set(options) - {"version", "redis_message_id"}:
        return "unknown options"
    if type(options.get("version")) is not int or options["version"] not in ACCEPTED_VERSIONS:
        return "unknown version"
    if not all(_is_id(each) for each in (options.get("redis_message_id"), parsed["message_id"])):
        return "a name that is no id"
    if parsed["args"] != [] or not isinstance(values, dict) or set(values) != {field.name for field in fields(kind)}:
        return "wrong arguments"
    if any(type(value) is not int or not 0 < value < 2**63 for value in values.values()):
        return "an id that is no id"
    if parsed["queue_name"] != kind.QUEUE:
        return "wrong queue"
    return "" if type(parsed["message_timestamp"]) is int else "wrong timestamp"


def _is_id(value: object) -> bool:
    """As Dramatiq makes them. Both are logged, or stand in keys: no other text may get there."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def _redis_id(data: bytes) -> str | None:
    """The id under which Redis holds the message, if it can be read, so that it can be acknowledged."""
    try:
        found = orjson.loads(data)["options"]["redis_message_id"]
    except (orjson.JSONDecodeError, KeyError, TypeError, IndexError):
        return None
    return found if isinstance(found, str) and len(found) <= 64 else None
