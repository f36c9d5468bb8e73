def rlong(value):
    return int(value)


def rstring(value):
    return str(value)
