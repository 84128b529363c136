"""The lifecycle node: parameters, conversions, worker thread, health. Imports rclpy."""
