"""What people do with the Python client (PyPI: kubernetes), against a server of ours.

    flows.py api              everything that needs no container, in a namespace of its own
    flows.py exec NS POD      a conversation with a container

KUBECONFIG says where. The first thing that is not as it should be ends it with a traceback.
"""

import base64
import sys
import threading
import time
import uuid

from kubernetes import client, config, dynamic, stream, utils, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.configmaplock import ConfigMapLock

SOON = 60


def until(what, look):
    deadline = time.monotonic() + SOON
    while not look():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def refused(code, reason, call):
    try:
        call()
    except ApiException as error:
        assert error.status == code, error
        assert f'"reason":"{reason}"' in error.body, error.body
        return error
    raise AssertionError(f"expected {code} {reason}")


def again(change):
    """Controllers write too; whoever replaces what was read tries again."""
    while True:
        try:
            return change()
        except ApiException as error:
            if error.status != 409:
                raise


def config_map(name, data=None, labels=None):
    return client.V1ConfigMap(
        metadata=client.V1ObjectMeta(name=name, labels=labels or {}), data=data or {}
    )


def deployment(name):
    labels = {"app": name}
    container = client.V1Container(
        name="web", image="web:1", ports=[client.V1ContainerPort(container_port=80)]
    )
    template = client.V1PodTemplateSpec(
        metadata=client.V1ObjectMeta(labels=labels),
        spec=client.V1PodSpec(containers=[container]),
    )
    spec = client.V1DeploymentSpec(
        replicas=0, selector=client.V1LabelSelector(match_labels=labels), template=template
    )
    return client.V1Deployment(metadata=client.V1ObjectMeta(name=name), spec=spec)


def crud(core, apps, ns):
    made = core.create_namespaced_config_map(ns, config_map("one", {"a": "1"}))
    assert made.metadata.uid and made.metadata.resource_version
    refused(409, "AlreadyExists", lambda: core.create_namespaced_config_map(ns, config_map("one")))
    made.data["b"] = "2"
    replaced = core.replace_namespaced_config_map("one", ns, made)
    assert replaced.metadata.resource_version != made.metadata.resource_version
    refused(409, "Conflict", lambda: core.replace_namespaced_config_map("one", ns, made))
    assert core.read_namespaced_config_map("one", ns).data == {"a": "1", "b": "2"}
    refused(404, "NotFound", lambda: core.read_namespaced_config_map("none", ns))
    error = refused(422, "Invalid", lambda: core.create_namespaced_config_map(ns, config_map("A_")))
    assert "metadata.name" in error.body
    dry = core.create_namespaced_config_map(ns, config_map("dry"), dry_run="All")
    assert dry.metadata.uid
    refused(404, "NotFound", lambda: core.read_namespaced_config_map("dry", ns))

    made = apps.create_namespaced_deployment(ns, deployment("web"))
    assert made.spec.strategy.type == "RollingUpdate", "defaults come back"

    def resize():
        scale = apps.read_namespaced_deployment_scale("web", ns)
        scale.spec.replicas = 3
        return apps.replace_namespaced_deployment_scale("web", ns, scale)

    assert again(resize).spec.replicas == 3
    status = apps.read_namespaced_deployment_status("web", ns)
    assert status.metadata.name == "web"
    options = client.V1DeleteOptions(propagation_policy="Foreground", grace_period_seconds=0)
    apps.delete_namespaced_deployment("web", ns, body=options)

    secret = client.V1Secret(
        metadata=client.V1ObjectMeta(generate_name="s-"), string_data={"password": "x"}
    )
    secret = core.create_namespaced_secret(ns, secret)
    assert secret.metadata.name.startswith("s-") and len(secret.metadata.name) > 2
    assert base64.b64decode(secret.data["password"]) == b"x"


def patches(core, apps, ns):
    apps.create_namespaced_deployment(ns, deployment("patched"))
    strategic = {"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "web:2"}]}}}}
    got = apps.patch_namespaced_deployment("patched", ns, strategic)
    container = got.spec.template.spec.containers[0]
    assert container.image == "web:2" and container.ports, "a strategic patch merges lists"
    operations = [{"op": "replace", "path": "/spec/replicas", "value": 1}]
    got = apps.patch_namespaced_deployment("patched", ns, operations)
    assert got.spec.replicas == 1, "a list is a JSON patch"
    core.create_namespaced_config_map(ns, config_map("patched", {"a": "1", "b": "2"}))
    got = core.patch_namespaced_config_map("patched", ns, {"data": {"a": None, "c": "3"}})
    assert got.data == {"b": "2", "c": "3"}
    refused(
        422,
        "Invalid",
        lambda: core.patch_namespaced_config_map(
            "patched", ns, [{"op": "test", "path": "/data/b", "value": "no"}]
        ),
    )


def pages(core, ns):
    for number in range(7):
        core.create_namespaced_config_map(ns, config_map(f"page-{number}", labels={"set": "pages"}))
    names, token = [], None
    while True:
        page = core.list_namespaced_config_map(
            ns, label_selector="set=pages", limit=3, _continue=token
        )
        assert len(page.items) <= 3
        names += [item.metadata.name for item in page.items]
        token = page.metadata._continue
        if not token:
            break
    assert names == [f"page-{number}" for number in range(7)], names
    core.delete_collection_namespaced_config_map(ns, label_selector="set=pages")
    left = core.list_namespaced_config_map(ns, label_selector="set=pages")
    assert left.items == []


def watches(core, ns):
    listed = core.list_namespaced_config_map(ns, label_selector="set=watched")
    start = listed.metadata.resource_version

    def work():
        core.create_namespaced_config_map(ns, config_map("w", {"a": "1"}, {"set": "watched"}))
        core.patch_namespaced_config_map("w", ns, {"data": {"a": "2"}})
        core.delete_namespaced_config_map("w", ns)

    worker = threading.Thread(target=work)
    worker.start()
    seen, watcher = [], watch.Watch()
    for event in watcher.stream(
        core.list_namespaced_config_map,
        ns,
        label_selector="set=watched",
        resource_version=start,
        timeout_seconds=SOON,
    ):
        seen.append((event["type"], event["object"].data["a"]))
        if event["type"] == "DELETED":
            watcher.stop()
    worker.join()
    assert seen == [("ADDED", "1"), ("MODIFIED", "2"), ("DELETED", "2")], seen

    began = time.monotonic()
    nothing = watch.Watch().stream(
        core.list_namespaced_config_map, ns, label_selector="no=such", timeout_seconds=1
    )
    assert list(nothing) == []
    assert 0.9 < time.monotonic() - began < 30, "a watch ends when its time is over"


def informer(core, ns):
    """List and watch with time-outs, over and over: nothing is lost, nothing comes twice."""
    known, events, rounds = {}, [], []

    def run(stop):
        listed = core.list_namespaced_config_map(ns, label_selector="set=informed")
        known.update({item.metadata.name: item for item in listed.items})
        version = listed.metadata.resource_version
        while not stop.is_set():
            rounds.append(version)
            for event in watch.Watch().stream(
                core.list_namespaced_config_map,
                ns,
                label_selector="set=informed",
                resource_version=version,
                allow_watch_bookmarks=True,
                timeout_seconds=1,
            ):
                item = event["object"]
                version = item.metadata.resource_version
                if event["type"] == "BOOKMARK":
                    continue
                events.append((event["type"], item.metadata.name))
                if event["type"] == "DELETED":
                    known.pop(item.metadata.name)
                else:
                    known[item.metadata.name] = item

    stop = threading.Event()
    thread = threading.Thread(target=run, args=(stop,))
    thread.start()
    for number in range(12):
        core.create_namespaced_config_map(ns, config_map(f"i-{number}", labels={"set": "informed"}))
        if number in (3, 8):
            before = len(rounds)
            until("a watch runs out and another begins", lambda: len(rounds) > before)
    for number in range(6):
        core.delete_namespaced_config_map(f"i-{number}", ns)
    until("the informer follows", lambda: sorted(known) == sorted(f"i-{n}" for n in range(6, 12)))
    stop.set()
    thread.join()
    assert len(events) == len(set(events)), events


def dynamically(api, ns):
    own = dynamic.DynamicClient(api)
    maps = own.resources.get(api_version="v1", kind="ConfigMap")
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "dyn"}, "data": {"a": "1"}}
    applied = own.server_side_apply(maps, body=body, name="dyn", namespace=ns, field_manager="py")
    assert applied.data.a == "1"
    body["data"]["a"] = "2"
    try:
        own.server_side_apply(maps, body=body, name="dyn", namespace=ns, field_manager="rb")
        raise AssertionError("somebody else owns it")
    except dynamic.exceptions.ConflictError as error:
        assert "conflict with" in str(error.body), error.body
    got = maps.patch(
        namespace=ns,
        name="dyn",
        body={"data": {"a": "3"}},
        content_type="application/merge-patch+json",
    )
    assert got.data.a == "3"
    assert [item.metadata.name for item in maps.get(namespace=ns, field_selector="metadata.name=dyn").items] == ["dyn"]
    kinds = {resource.kind for resource in own.resources.search(group="apps")}
    assert {"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"} <= kinds, kinds
    maps.delete(name="dyn", namespace=ns)
    utils.create_from_dict(api, {**body, "metadata": {"name": "from-dict"}}, namespace=ns)


def elections(ns):
    """Of two candidates one leads, and the other waits for as long as it does."""
    led, over = [], threading.Event()

    class Watched(ConfigMapLock):
        """A lock that counts how often its candidate looked who leads."""

        looks = 0

        def get(self, name, namespace):
            found = super().get(name, namespace)
            self.looks += 1
            return found

    def campaign(lock):
        def leading():
            led.append(lock.identity)
            over.wait()

        settings = electionconfig.Config(
            lock,
            lease_duration=3,
            renew_deadline=2,
            retry_period=1,
            onstarted_leading=leading,
            onstopped_leading=None,
        )
        leaderelection.LeaderElection(settings).run()

    first, second = (Watched("election", ns, name) for name in ("first", "second"))
    threading.Thread(target=campaign, args=(first,), daemon=True).start()
    until("somebody leads", lambda: led)
    threading.Thread(target=campaign, args=(second,), daemon=True).start()
    until("the second has asked again and again", lambda: second.looks > 3)
    assert led == ["first"], led


def reviews(api):
    access = client.AuthorizationV1Api(api).create_self_subject_access_review(
        client.V1SelfSubjectAccessReview(
            spec=client.V1SelfSubjectAccessReviewSpec(
                resource_attributes=client.V1ResourceAttributes(verb="delete", resource="pods")
            )
        )
    )
    assert access.status.allowed
    assert client.VersionApi(api).get_code().git_version.startswith("v1.36")
    groups = {group.name for group in client.ApisApi(api).get_api_versions().groups}
    assert {"apps", "batch", "rbac.authorization.k8s.io"} <= groups


def everything():
    api = client.ApiClient()
    core, apps = client.CoreV1Api(api), client.AppsV1Api(api)
    ns = f"python-{uuid.uuid4().hex[:6]}"
    core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=ns)))
    steps = [
        lambda: crud(core, apps, ns),
        lambda: patches(core, apps, ns),
        lambda: pages(core, ns),
        lambda: watches(core, ns),
        lambda: informer(core, ns),
        lambda: dynamically(api, ns),
        lambda: elections(ns),
        lambda: reviews(api),
    ]
    for step in steps:
        step()
    core.delete_namespace(ns)


def converse(ns, pod):
    core = client.CoreV1Api()
    output = stream.stream(
        core.connect_get_namespaced_pod_exec,
        pod,
        ns,
        command=["sh", "-c", "echo out; echo err >&2"],
        stderr=True,
        stdin=False,
        stdout=True,
        tty=False,
    )
    assert "out" in output and "err" in output, output
    talk = stream.stream(
        core.connect_get_namespaced_pod_exec,
        pod,
        ns,
        command=["sh"],
        stderr=True,
        stdin=True,
        stdout=True,
        tty=False,
        _preload_content=False,
    )
    talk.write_stdin("echo hello\n")
    assert talk.readline_stdout(timeout=SOON) == "hello"
    talk.write_stdin("exit 3\n")
    talk.run_forever(timeout=SOON)
    assert talk.returncode == 3, talk.returncode
    logs = core.read_namespaced_pod_log(pod, ns, tail_lines=1)
    assert logs


def main():
    config.load_kube_config()
    if sys.argv[1] == "api":
        everything()
    else:
        converse(*sys.argv[2:4])
    print("all is well")
    sys.stdout.flush()
    # Candidates of the election hold on to their threads.
    import os

    os._exit(0)


main()
