"""The model: configuration, weights, vision and text towers, action expert, kinematics."""
