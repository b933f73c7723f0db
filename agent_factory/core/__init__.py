"""What an agent, a tool, a workflow and a blueprint are: pure, without server or database."""
