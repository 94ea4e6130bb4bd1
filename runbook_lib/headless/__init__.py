"""Running runbooks without a person in front: parameters, kernel, papermill engine, truthful endings."""
