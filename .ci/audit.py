"""Known vulnerabilities among the installed packages, by pip-audit.

Exit code 1 for any; 0 for none, and where their list cannot be had.
"""

import json
import subprocess
import sys

_SECONDS = 120


def main() -> int:
    """Ask, print a line a vulnerability, and one that sums up."""
    command = [sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off", "--skip-editable"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
        packages = json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        print("audit: the list of known vulnerabilities cannot be had here")
        return 0
    known = [package for package in packages if "vulns" in package]
    found = [(package, one) for package in known for one in package["vulns"]]
    for package, one in found:
        fixed = ", ".join(one["fix_versions"]) or "no version yet"
        print(f"audit: {package['name']} {package['version']} has {one['id']}, mended in {fixed}")
    if not known:
        print("audit: the list of known vulnerabilities cannot be had here")
    else:
        print(f"audit: {len(found)} known vulnerabilities in {len(known)} of {len(packages)} packages")
    return 1 if found else 0


sys.exit(main())
