"""What happens to finished samples: decisions kept in a workspace, datasets out and in."""
