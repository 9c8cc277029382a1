"""MLflow as a view of the files.

The only package that knows MLflow. It computes nothing, and knows nothing of how results are computed.
"""
