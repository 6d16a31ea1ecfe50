"""Trainings on several machines: pods of a TrainJob of Kubeflow Trainer, which one worker supervises.

The worker holds the lease and creates the TrainJob; in each of its pods services.worker.machines.node runs the
processes of that machine as a worker runs those of its own. What they report comes as lines of the pods' logs.
"""
