"""`snakemake preflight`: one page on the terminal, an exit code, and nothing left behind."""

from tests.checkout import copy_checkout, snakemake


def test_preflight_by_snakemake(tmp_path):
    checkout = copy_checkout(tmp_path / "formsafe")
    for _ in range(2):  # it makes no file, so it runs whenever it is asked for
        go = snakemake(checkout, "preflight", "--configfile", "config/demo.yaml", "--cores", "1")
        assert "Preflight of the study demo: 9 runs, 1 models" in go.stdout
        assert "GO" in go.stdout and "NO-GO" not in go.stdout
    assert not (checkout / "results").exists()
    judged_by = ["preflight", "--configfile", "config/demo.yaml", "--cores", "1", "--config"]
    missing = snakemake(checkout, *judged_by, "judges={policy: {prompt: nowhere.txt}}", check=False)
    assert missing.returncode != 0
    assert "judges.policy.prompt: there is no file nowhere.txt" in missing.stdout + missing.stderr
    assert "Traceback" not in missing.stdout + missing.stderr
    server = "judges={policy: {generation: {server: {base_url: 'http://127.0.0.1:1/v1', model: big}}}}"
    no_go = snakemake(checkout, *judged_by, server, check=False)
    assert no_go.returncode != 0
    assert "NO-GO: 1 thing is wrong" in no_go.stdout and "server of judge policy" in no_go.stdout
