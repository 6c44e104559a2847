class State:
    def __init__(self, service):
        pass
