"""The scenarios: what is compared, with whom, and what must come of it."""

from dataclasses import dataclass

from contestants import MANY_ROUTES, Setup
from kinds import Bulk, Closed, Counted, Http2, Kind, Memory, Paced, Start
from origin import BULK_TEXT_PATH, UPLOAD_PATH
from verdicts import Bound, difference

#: Those who inject on a TCP connection of the app's, the first of which is judged.
PROXIES = ("bearerd", "nginx", "haproxy", "envoy")
#: The same for bodies of sizes between small and large, where the guard is most of what bearerd does.
BETWEEN = ("bearerd", "bearerd, guard off", "nginx", "haproxy")


@dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    kind: Kind
    contestants: tuple[str, ...]
    bounds: tuple[Bound, ...] = ()
    setup: Setup = Setup()
    #: How many rounds, where the command line does not say.
    rounds: int = 21
    note: str = ""
    #: Who shows what there is without a proxy: figures are also told as what a proxy adds to its.
    baseline: str | None = None
    #: How many CPUs it takes for the bounds to say anything.
    cpus: int = 2


SCENARIOS = [
    Scenario(
        "get", "GET 1 KiB, 64 connections, plain HTTP", Closed(), (*PROXIES, "tcp"),
        (
            Bound("cpu_us", must=1.00, aim=0.90),
            Bound("cpu_us", must=1.30, against=("tcp",)),
            Bound("cpu_us", must=1 / 3, against=("envoy",)),
        ),
        rounds=31,
    ),
    Scenario(
        "get-counted", "GET 1 KiB, counted", Counted(), (*PROXIES, "tcp"),
        (
            Bound("instructions", must=1.00, aim=0.80, against=("nginx",)),
            Bound("system_calls", must=4.2, against=()),
        ),
        rounds=1,
    ),
    Scenario(
        "guard", "GET 1 KiB of JSON, with the guard and without", Closed(), ("bearerd", "bearerd, guard off"),
        (Bound("cpu_us", must=1.05, against=("bearerd, guard off",)),),
        rounds=61,
        note="The same binary twice; the guard looks at every byte of an answer.",
    ),
    Scenario(
        "guard-counted", "GET 1 KiB of JSON, with the guard and without, counted", Counted(),
        ("bearerd", "bearerd, guard off"),
        (Bound("instructions", must=1.25, against=("bearerd, guard off",)),),
        rounds=1,
        note="The bound is ours: instructions that follow each other without a system call are the cheap ones.",
    ),
    Scenario(
        "post", "POST 4 KiB, 64 connections", Closed(post=4096), (*PROXIES, "tcp"),
        (Bound("cpu_us", must=0.95, aim=0.85),),
    ),
    Scenario(
        "tls", "GET 1 KiB, upstream TLS 1.3 kept alive", Closed(), PROXIES,
        (Bound("cpu_us", must=1.00, aim=0.90),),
        Setup(upstream="tls"),
    ),
    Scenario(
        "tls-closing", "GET 1 KiB, upstream TLS 1.3 that closes after each answer, sessions resumed",
        Closed(connections=16, sessions=True), PROXIES,
        (
            Bound("cpu_us", must=1.00, aim=0.90),
            Bound("resumed", must=0.95, against=(), at_least=True),
        ),
        Setup(upstream="closing"),
    ),
    Scenario(
        "bulk", "GET 10 MiB, 8 connections", Bulk(), (*PROXIES, "tcp"),
        (
            Bound("cpu_ms_per_gib", must=1.00, aim=0.85),
            Bound("peak_over_idle_mib", must=4.0, against=(), highest=True),
        ),
        Setup(bulk=True),
    ),
    Scenario(
        "bulk-text", "GET 10 MiB of JSON, 8 connections", Bulk(path=BULK_TEXT_PATH), (*PROXIES, "tcp"),
        (Bound("peak_over_idle_mib", must=4.0, against=(), highest=True),),
        Setup(bulk=True),
        note="What the guard costs where it looks: the others do not read what they pass on.",
    ),
    Scenario(
        "listing-16k", "GET 16 KiB of JSON as an API answers it", Closed(), BETWEEN,
        (Bound("cpu_us", must=1.00, against=("nginx", "haproxy")),),
        Setup(bulk=True, path="/listing-16k"),
        rounds=9,
    ),
    Scenario(
        "listing-100k", "GET 100 KiB of it", Closed(), BETWEEN,
        (Bound("cpu_us", must=1.00, against=("nginx", "haproxy")),),
        Setup(bulk=True, path="/listing-100k"),
        rounds=9,
    ),
    Scenario(
        "page-100k", "GET 100 KiB of HTML", Closed(), BETWEEN,
        (Bound("cpu_us", must=1.00, against=("nginx", "haproxy")),),
        Setup(bulk=True, path="/page-100k"),
        rounds=9,
    ),
    Scenario(
        "upload-64k", "POST 64 KiB", Closed(post=64 * 1024), BETWEEN,
        (Bound("cpu_us", must=1.00, against=("nginx", "haproxy")),),
        Setup(bulk=True, path=UPLOAD_PATH),
        rounds=9,
    ),
    Scenario(
        "open-loop", "GET 1 KiB, 2,000 requests a second, open loop", Paced(), (*PROXIES, "direct"),
        (
            Bound("added_p50_us", must=0.0, compare=difference),
            Bound("added_p99_us", must=0.0, compare=difference),
        ),
        baseline="direct",
    ),
    Scenario(
        "http2", "GET 1 KiB, HTTP/2 client, 4 connections with 100 streams each", Http2(),
        ("bearerd", "envoy", "nghttpx", "nginx", "haproxy"),
        (Bound("cpu_us", must=0.90, aim=0.70, against=("envoy", "nghttpx")),),
        Setup(http2=True),
    ),
    Scenario(
        "http2-counted", "GET 1 KiB, HTTP/2 client, counted", Counted(http2=Http2()),
        ("bearerd", "nghttpx", "nginx", "haproxy"),
        (Bound("instructions", must=0.90, against=("nghttpx",)),),
        Setup(http2=True),
        rounds=1,
        note="The bound is ours.",
    ),
    Scenario(
        "routes", "1,000 routes and credentials against one", Closed(scripted=MANY_ROUTES),
        ("bearerd, 1 of 1 route", "bearerd, 1 of 1,000 routes", "bearerd, 1,000 routes"),
        (
            Bound("cpu_us", must=1.03, of="bearerd, 1 of 1,000 routes", against=("bearerd, 1 of 1 route",)),
            Bound("cpu_us", must=1.03, of="bearerd, 1,000 routes", against=("bearerd, 1 of 1 route",)),
        ),
    ),
    Scenario(
        "routes-counted", "1,000 routes and credentials against one, counted", Counted(),
        ("bearerd, 1 of 1 route", "bearerd, 1 of 1,000 routes", "bearerd, 1,000 routes"),
        (
            Bound("instructions", must=1.03, of="bearerd, 1 of 1,000 routes", against=("bearerd, 1 of 1 route",)),
            Bound("instructions", must=1.03, of="bearerd, 1,000 routes", against=("bearerd, 1 of 1 route",)),
        ),
        rounds=1,
    ),
    Scenario(
        "routes-memory", "1,000 routes and credentials against one, memory at rest", Memory(connections=0),
        ("bearerd, 1 of 1 route", "bearerd, 1,000 routes"),
        (Bound("rest_mib", must=4 * 999 / 1024, of="bearerd, 1,000 routes", against=("bearerd, 1 of 1 route",),
               compare=difference),),
        rounds=5,
        note="At most 4 KiB a route: 3.9 MiB for 999 more.",
    ),
    Scenario(
        "memory", "Memory at rest, and what 1,000 idle connections add", Memory(), PROXIES,
        (
            Bound("rest_mib", must=10.0, against=()),
            Bound("idle_mib", must=4.0, aim=1.0, against=()),
        ),
        rounds=3,
    ),
    Scenario(
        "start", "From the start of the process to the first proxied 200", Start(),
        (*PROXIES, "bearerd, with a login"),
        (
            Bound("start_ms", must=1.00, against=("nginx",)),
            Bound("start_ms", aim=10.0, against=()),
        ),
        rounds=21,
    ),
    Scenario(
        "workers", "Two workers against one", Closed(connections=128), ("bearerd", "bearerd, 2 workers"),
        (Bound("per_second", must=1.7, of="bearerd, 2 workers", against=("bearerd",), at_least=True),),
        cpus=4,
        note="With fewer than four CPUs both share the proxies' one, and only the CPU per request says something: "
             "what a second worker costs.",
    ),
    Scenario(
        "workers-counted", "Two workers against one, counted", Counted(), ("bearerd", "bearerd, 2 workers"),
        (Bound("instructions", must=1.05, of="bearerd, 2 workers", against=("bearerd",)),),
        rounds=1,
        note="The bound is ours: nothing is shared, so a second worker must not make a request dearer.",
    ),
]
