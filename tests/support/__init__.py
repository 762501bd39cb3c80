"""What several rooms' tests share: real servers, and data that lies beside the repository."""
