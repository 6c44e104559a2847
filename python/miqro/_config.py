import os


class F:
    pass


def find_and_read(path, paths):
    import yaml

    for p in [path, *paths]:
        if p and os.path.exists(p):
            f = F()
            f.config = yaml.safe_load(open(p)) or {}
            f.path = p
            f.warnings = []
            f.log_level = f.config.get("log_level")
            f.service_section = lambda n: (f.config.get("services") or {}).get(n) or {}
            return f
    raise Exception("none")
