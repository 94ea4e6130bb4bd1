"""Shell text is read without a shell: words, expectations, and what only a shell could do."""

from __future__ import annotations

import shlex

import pytest

from runbook_lib.authoring.commands import reads_only, understand
from runbook_lib.authoring.shell import Command, Remark, read, template, variables


def one(text: str) -> Command:
    """The only command of a text."""
    (found,) = (part for part in read(text) if isinstance(part, Command))
    return found


def test_continuations_and_expectations() -> None:
    """A command over several lines is one, and what the page expects belongs to it."""
    found = one("helm upgrade api ./api \\\n  --namespace prod\n# Expected output: deployed\n")
    assert ("helm", "upgrade", "api", "./api", "--namespace", "prod") == found.argv
    assert "deployed" == found.expected


def test_a_remark_never_becomes_a_command() -> None:
    """A line that begins with a number sign is a remark, also where root's prompt would be one."""
    assert (Remark("rm -rf everything", 1),) == read("# rm -rf everything")


@pytest.mark.parametrize(
    ("text", "needs"),
    [
        ("kubectl get pods > pods.txt", "the shell's >"),
        ("a || b", "the shell's ||"),
        ("rm -rf $(pwd)", "the output of another command"),
        ("for i in 1 2; do echo $i; done", "a shell's own program"),
        ("cat <<EOF | kubectl apply -f -\nkind: Pod\nEOF", "a shell's own program"),
        ("echo 'open", "a shell's own program"),
        ("TOKEN=1 make deploy", "a variable for one command"),
        ("rm *.log", "names filled in by the shell"),
    ],
    ids=["redirect", "or", "substitution", "loop", "here-document", "open-quotation", "environment", "glob"],
)
def test_what_needs_a_shell_is_left_to_a_person(text: str, needs: str) -> None:
    """What only a shell could do is never planned, and the reason says what it is."""
    found = one(text)
    assert needs == found.needs
    assert understand(found).by_hand
    assert "" == understand(found).plan


def test_chains_are_separate_commands() -> None:
    """Commands joined by && or ; are separate steps; a pipe is a filter of one."""
    first, second = (
        part for part in read("kubectl get pods | grep api && kubectl get hpa") if isinstance(part, Command)
    )
    assert (("grep", "api"),) == first.filters
    assert ("kubectl", "get", "hpa") == second.argv


def test_variables_and_placeholders_become_names() -> None:
    """Each way to write a variable becomes one name, and braces of JSON stay braces."""
    command = one("kubectl annotate pod <pod name> tag=$IMAGE_TAG note='{\"a\": 1}' -n ${NAMESPACE:-prod}")
    line = template(command.argv)
    assert ("pod_name", "image_tag", "namespace") == variables(" ".join(command.argv))
    filled = [word.format(pod_name="p", image_tag="v1", namespace="n") for word in shlex.split(line)]
    assert ["kubectl", "annotate", "pod", "p", "tag=v1", 'note={"a": 1}', "-n", "n"] == filled


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ("kubectl get pods -n prod", "run.kubernetes.pods()"),
        ("kubectl -n prod get po -l app=api", "run.kubernetes.pods()"),
        ("kubectl rollout history deployment/api", "run.kubernetes.rollouts()"),
        ("kubectl rollout status deploy/api", "run.kubernetes.deployment()"),
        ("kubectl describe deployment api", "run.kubernetes.deployment()"),
        ("kubectl top pods", "run.kubernetes.pod_usage()"),
        ("kubectl get hpa", "run.kubernetes.horizontal_autoscaler()"),
        ("helm history api -n prod", "run.helm.history()"),
        ("helm status api", "run.helm.release()"),
        ("gh run list --limit 1", "run.github.runs()"),
        ("curl -s https://api.example.com/healthz", "run.service_probe.health()"),
        ("curl -s https://api.example.com/api/v1/status | jq .version", "run.service_probe.status()"),
        ('psql -c "SELECT * FROM pg_stat_activity"', "run.postgres.activity()"),
        ('psql -c "SHOW max_connections"', "run.postgres.saturation()"),
        ("redis-cli slowlog get 10", "run.redis.slowlog()"),
    ],
)
def test_known_reads_become_calls(text: str, call: str) -> None:
    """A command that the library can answer becomes a read through it."""
    meaning = understand(one(text))
    assert (call, False) == (meaning.call, meaning.changes)


CHANGES = [
    "kubectl delete pod api-1", "kubectl apply -f x.yaml", "kubectl exec api-1 -- rm -rf /",
    "kubectl rollout restart deploy/api", "kubectl drain node-1", "kubectl config use-context prod",
    "kubectl cordon n", "helm install a b", "helm uninstall a", "helm rollback a 3", "curl -X POST https://x/y",
    "curl -d a=b https://x/health", "curl -o /etc/passwd https://x/health", 'psql -c "DELETE FROM t"',
    'psql -c "SELECT 1; DROP TABLE t"', 'psql -c "SELECT pg_terminate_backend(1)"',
    'psql -c "EXPLAIN ANALYZE DELETE FROM t"', 'psql -c "SELECT * INTO x FROM t"', "psql -f x.sql",
    "redis-cli flushall", "redis-cli config set maxmemory 1", "gh run rerun 1", "gh workflow run deploy",
    "docker rm x", "docker push x", "git push", "git reset --hard", "systemctl restart x", "terraform apply",
    "aws ec2 terminate-instances --ids i", "made-up-tool --now", "rm -rf /", "kill -9 1", "make deploy",
    "./deploy.sh", "ansible-playbook x.yml",
]  # fmt: skip


@pytest.mark.parametrize("text", CHANGES)
def test_changes_are_never_reads(text: str) -> None:
    """Whatever is not known to read only counts as a change, and has no call that a run would make."""
    meaning = understand(one(text))
    assert meaning.changes
    assert "" == meaning.call
    assert not reads_only(one(text).argv)


@pytest.mark.parametrize(
    "text",
    [
        "kubectl get secret x -o yaml",
        "helm get values api",
        "docker ps",
        "git log -3",
        "df -h",
        "aws ec2 describe-instances",
    ],
)
def test_other_reads_are_plans_that_say_so(text: str) -> None:
    """A reading command without a call of the library is a guarded command that is marked as reading."""
    meaning = understand(one(text))
    assert not meaning.changes
    assert "reads=True" in meaning.plan


def test_a_secret_never_gets_onto_a_command_line() -> None:
    """A command with a secret in a variable has no plan and no parameter; the variable is named for the catalogue."""
    meaning = understand(one("curl -X POST -d x https://x/y -H $API_TOKEN"))
    assert ("", {}, ("API_TOKEN",)) == (meaning.plan, dict(meaning.parameters), meaning.secrets)


@pytest.mark.parametrize(
    ("text", "plan"),
    [
        ("helm upgrade api ./api -n prod --set image.tag=$TAG --values v.yaml", "actions.deploy(run, image_tag=tag)"),
        ("helm upgrade api ./api --set image.tag=v2", "actions.deploy(run, image_tag=image_tag)"),
        ("helm rollback api 3", "actions.rollback(run, revision=revision)"),
        ("helm rollback api -n prod", "actions.rollback(run, revision=revision)"),
        ('curl -X POST --data \'{"text":"done"}\' $SLACK_WEBHOOK_URL', 'actions.message(run, "done", key=run.id)'),
    ],
    ids=["deploy", "deploy-literal", "rollback", "rollback-last-good", "slack"],
)
def test_changes_with_an_action_of_their_own(text: str, plan: str) -> None:
    """A change that the library knows becomes its guarded action."""
    assert plan == understand(one(text)).plan


def test_an_upgrade_of_more_than_the_image_stays_a_command() -> None:
    """What deploy would not carry out as written is not turned into it."""
    meaning = understand(one("helm upgrade api ./api --set image.tag=v2 --set debug=true"))
    assert "command" == meaning.kind
    assert "debug=true" in meaning.plan


def test_scale_becomes_the_guarded_action() -> None:
    """kubectl scale becomes the scale action with its number as a parameter."""
    meaning = understand(one("kubectl scale deployment api --replicas=5 -n prod"))
    assert ("scale", 5) == (meaning.kind, meaning.parameters["replicas"][1])
    assert {"namespace": "prod", "deployment": "api"} == meaning.literals
